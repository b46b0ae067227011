"""Fields: parcels of a regional shape, each with a crop and its calendar."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world import noise as k
from rsdata.sandbox.world.canvas import Canvas, bits16
from rsdata.sandbox.world.cities import STYLES, Style, cities
from rsdata.sandbox.world.grid import EARTH_RADIUS_M
from rsdata.sandbox.world.noise import Field
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817
from shards.random import address, uniform

REGION_M = 24_576.0
_COARSEST_M = 120.0

# Day of greatest green in the north, days to a third of it. Winter cereal, maize, rape, beet, meadow, fallow.
_CROPS = np.array([(132, 36), (207, 34), (118, 28), (222, 44), (180, 95), (0, 0)], np.float32)


def paint_farms(canvas: Canvas, seed: int) -> None:
    """Cut every CROP pixel into parcels; at coarse resolution only the calendar varies."""
    flat = np.flatnonzero(canvas.material.ravel() == M.CROP)
    if not flat.size:
        return
    if canvas.res_m > _COARSEST_M:
        field = canvas.noise.fbm(k.TOWN, 2.0**14, 2.0**9, 0.8).ravel()[flat]
        _calendar(canvas, flat, np.clip(field * 0.5 + 0.5, 0, 0.999), np.full(flat.size, 0.5, np.float32))
        return
    code, u, v = (values.ravel()[flat] for values in canvas.face_metres)
    ru, rv = np.floor(u / REGION_M).astype(np.int64), np.floor(v / REGION_M).astype(np.int64)
    wander = canvas.noise.fbm(k.BEND, 2.0**11, 2.0**8, 0.5).ravel()[flat]
    region = (code * 4096 + ru + 1024) * 4096 + rv + 1024
    for value in np.unique(region[:: max(1, flat.size // 4096)]) if flat.size > 65536 else np.unique(region):
        here = np.flatnonzero(region == value)
        at = (int(code[here[0]]), int(ru[here[0]]), int(rv[here[0]]))
        middle = (at[1] + 0.5) * REGION_M, (at[2] + 0.5) * REGION_M
        du, dv = (u[here] - middle[0]).astype(np.float32), (v[here] - middle[1]).astype(np.float32)
        _cut(canvas, flat[here], du, dv, wander[here], at, seed)


@lru_cache(maxsize=4096)
def style_of(face: int, ru: int, rv: int) -> Style:
    """The style of a farm region: that of the city nearest to its middle."""
    angle = np.array([ru + 0.5, rv + 0.5]) * REGION_M / EARTH_RADIUS_M
    third, sign = face // 2, 1.0 if face % 2 else -1.0
    vector = np.insert(np.tan(np.clip(angle, -1, 1)), third, sign)
    known = cities()
    return STYLES[known.style[known.nearest(vector / np.linalg.norm(vector))]]


def _cut(
    canvas: Canvas,
    flat: NDArray[np.int64],
    u: Field,
    v: Field,
    wander: Field,
    region: tuple[int, int, int],
    seed: int,
) -> None:
    style = style_of(*region)
    draw = [float(value) for value in uniform(seed, k.FARM, *region, count=2)]
    turn = draw[0] * np.pi if style.warp_m > 20 else 0.06 * (draw[0] - 0.5)
    side = style.parcel_m * (0.8 + 0.4 * draw[1])
    c, s = float(np.cos(turn)), float(np.sin(turn))
    along = u * c + v * s + style.warp_m * wander
    across = v * c - u * s + style.warp_m * 0.7 * wander
    i, j = np.floor(along / side), np.floor(across / side)
    fa, fb = (along / side - i).astype(np.float32), (across / side - j).astype(np.float32)
    cell = address(seed, k.FARM, *region, i.astype(np.int64), j.astype(np.int64))
    cuts = 1 + np.floor(bits16(cell, 0) * style.cuts)
    strips = bits16(cell, 1) < style.strips
    other = np.where(strips, 1, 1 + np.floor(bits16(cell, 2) * style.cuts))
    swap = bits16(cell, 3) < 0.5
    na, nb = np.where(swap, other, cuts), np.where(swap, cuts, other)
    ka, kb = np.floor(fa * na), np.floor(fb * nb)
    moisture = canvas.moisture.ravel()[flat]
    radius = np.hypot(fa - 0.5, fb - 0.5)
    pivot = (moisture < 0.5) & (bits16(cell, 2) < style.pivots)
    ka, kb = np.where(pivot, 0, ka), np.where(pivot, 0, kb)
    parcel = address(cell, (ka * 16 + kb).astype(np.int64))
    _calendar(canvas, flat, bits16(parcel, 0), bits16(parcel, 1))
    tone = canvas.tone.ravel()
    tone[flat] *= 0.82 + 0.36 * bits16(parcel, 2)
    material = canvas.material.ravel()
    res = canvas.res_m
    if res < 3.5:  # rows of the plough
        angle = np.where(bits16(parcel, 3) < 0.5, along, across) * (2 * np.pi / 11)
        tone[flat] *= 1 + 0.05 * np.sin(angle).astype(np.float32)
    material[flat[pivot & (radius > 0.47)]] = M.SHRUB if style.roofs[0] != M.ROOF_WHITE else M.SAND
    if res < 25:
        # Distance to the nearest border of the parcel, then of the square that carries the lanes.
        pa, pb = fa * na - ka, fb * nb - kb
        border = np.minimum(np.minimum(pa, 1 - pa) / na, np.minimum(pb, 1 - pb) / nb) * side
        lane = np.minimum(np.minimum(fa, 1 - fa), np.minimum(fb, 1 - fb)) * side
        if style.warp_m > 100:
            hedge = (border < max(3.0, 0.4 * res)) & (bits16(cell, 2) < 0.7) & (moisture > 0.4)
            material[flat[hedge]] = M.BROADLEAF
            canvas.height.ravel()[flat[hedge]] = 4
        else:
            material[flat[(border < max(1.2, 0.3 * res)) & ~pivot & (res < 8)]] = M.GRASS
        material[flat[lane < max(2.6, 0.3 * res)]] = M.GRAVEL


def _calendar(canvas: Canvas, flat: NDArray[np.int64], kind: Field, jitter: Field) -> None:
    """Give pixels a crop by two numbers in [0, 1): six crops where there are seasons, any time in the tropics."""
    crop = np.minimum((kind * len(_CROPS)).astype(np.intp), len(_CROPS) - 1)
    swing = canvas.swing.ravel()[flat]
    peak = _CROPS[:, 0].take(crop) + 24 * (jitter - 0.5)
    spread = _CROPS[:, 1].take(crop)
    peak[swing < 0] += 182.5
    tropical = np.flatnonzero(np.abs(swing) < 4)
    if tropical.size:
        peak[tropical] = kind[tropical] * 1999 % 365
        spread[tropical] = np.where(kind[tropical] < 0.9, 55 + 30 * jitter[tropical], 0)
    canvas.peak.ravel()[flat] = peak
    canvas.spread.ravel()[flat] = spread
