"""Built-up ground: how far cities reach, their streets, blocks, lots, roofs and vehicles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world import noise as k
from rsdata.sandbox.world.canvas import Canvas, bits16
from rsdata.sandbox.world.cities import STYLES, Style, cities
from rsdata.sandbox.world.grid import EARTH_RADIUS_M, Ground
from rsdata.sandbox.world.noise import Field, Noise
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817
from rsdata.sandbox.world.things import Thing, numbered
from shards.random import address, uniform

Whole = NDArray[np.int64]
_STREETS, _SLOTS = 901, 902
_URBAN = 0.35


def town_levels(ground: Ground, noise: Noise) -> tuple[Field, NDArray[np.int32]]:
    """How urban each pixel is (0 outside, above 1.2 in the middle), and which city it belongs to (-1: none)."""
    known = cities()
    level = np.zeros(ground.shape, np.float32)
    which = np.full(ground.shape, -1, np.int32)
    knots = ground.knots.xyz
    centre = knots.reshape(3, -1).mean(axis=1)
    norm = float(np.linalg.norm(centre))
    if norm < 0.2:  # half the planet or more: no direction stands for it
        reach = np.pi * EARTH_RADIUS_M
        centre = np.array([0.0, 0.0, 1.0])
    else:
        centre /= norm
        gap = np.clip(np.tensordot(centre, knots, 1).min(), -1, 1)
        reach = float(np.arccos(gap)) * EARTH_RADIUS_M
    near = known.within(centre, reach)
    near = near[known.radius_m[near] > 0.7 * ground.res_m]
    if not near.size:
        return level, which
    assert ground.weights is not None
    rows, _, columns, _ = ground.weights
    margin = 12 * ground.res_m
    for city in near.tolist():
        radius = known.radius_m[city]
        at = known.xyz[city].astype(np.float64)
        limit = np.cos(min((1.3 * radius + margin) / EARTH_RADIUS_M, np.pi))
        close = np.tensordot(at, knots, 1) >= limit
        if close.any():
            ky, kx = np.flatnonzero(close.any(1)), np.flatnonzero(close.any(0))
            y = _window(rows, int(ky[0]) - 1, int(ky[-1]))
            x = _window(columns, int(kx[0]) - 1, int(kx[-1]))
        elif radius > 4 * ground.knots.res_m:
            continue
        else:
            y, x = slice(0, ground.shape[0]), slice(0, ground.shape[1])
        vector = ground.xyz[:, y, x]
        chord = np.sqrt(sum((vector[axis] - at[axis]) ** 2 for axis in range(3)))
        value = (1.3 - chord * (EARTH_RADIUS_M / radius)).astype(np.float32)
        better = value > level[y, x]
        level[y, x][better] = value[better]
        which[y, x][better] = city
    edge = noise.fbm(k.TOWN, 2.0**11, 2.0**6, 0.6)
    level += np.float32(0.2) * edge * (level > 0)
    return np.maximum(level, 0), which


def _window(cells: Whole, first: int, last: int) -> slice:
    inside = np.flatnonzero((cells >= first) & (cells <= last))
    return slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)


def paint_streets(canvas: Canvas, level: Field, which: NDArray[np.int32], seed: int) -> None:
    """Cover urban pixels city by city."""
    urban = level > _URBAN
    if not urban.any():
        return
    known = cities()
    owners = which.ravel()
    flat = np.flatnonzero(urban.ravel())
    for city in np.unique(owners[flat]).tolist():
        here = flat[owners[flat] == city]
        east, north = canvas.ground.local(float(known.lon[city]), float(known.lat[city]))
        style = STYLES[known.style[city]]
        level_here = level.ravel()[here]
        if canvas.res_m > 20:
            _paint_afar(canvas, here, style)
        else:
            _paint_blocks(
                canvas, here, east.ravel()[here], north.ravel()[here], level_here, style, (seed, city)
            )


def _paint_afar(canvas: Canvas, flat: Whole, style: Style) -> None:
    """Where a pixel holds several houses: a mixture, with quarters of their own brightness and some green."""
    mixture = {M.ROOF_RED: M.TOWN_WARM, M.ROOF_WHITE: M.TOWN_PALE, M.METAL: M.TOWN_WARM}.get(
        style.roofs[0], M.TOWN_GREY
    )
    noise = canvas.noise
    quarter = noise.fbm(k.TONE, 2.0**11, max(64.0, canvas.res_m), 0.8).ravel()[flat]
    green = (quarter > 0.9) & (style.yard == M.GRASS)
    canvas.material.ravel()[flat] = np.where(green, M.GRASS, mixture)
    canvas.tone.ravel()[flat] = 1 + 0.16 * quarter


def _paint_blocks(
    canvas: Canvas,
    flat: Whole,
    east: Field,
    north: Field,
    level: Field,
    style: Style,
    key: tuple[int, int],
) -> None:
    draw = [float(value) for value in uniform(_STREETS, *key, count=3)]
    c, s = float(np.cos(draw[0] * np.pi / 2)), float(np.sin(draw[0] * np.pi / 2))
    if style.warp_m > 20:
        bend = canvas.noise.fbm(k.BEND, 2.0**11, 2.0**8, 0.5).ravel()[flat] * min(style.warp_m, 90)
        east, north = east + bend, north - 0.8 * bend
    long_m, short_m = style.block_m[0] * (0.85 + 0.3 * draw[1]), style.block_m[1] * (0.85 + 0.3 * draw[2])
    along = east * c + north * s
    across = north * c - east * s
    i, j = np.floor(along / long_m).astype(np.int32), np.floor(across / short_m).astype(np.int32)
    a, b = along - i.astype(np.float32) * long_m, across - j.astype(np.float32) * short_m
    block = address(_STREETS, *key, i, j)
    # Every fifth street is wide; half of a street's width lies in each of its two blocks.
    half_a = np.where(
        (i % 5 == 0) & (a < long_m / 2) | (i % 5 == 4) & (a > long_m / 2), np.float32(11), np.float32(4.5)
    )
    half_b = np.where(
        (j % 5 == 0) & (b < short_m / 2) | (j % 5 == 4) & (b > short_m / 2), np.float32(11), np.float32(4.5)
    )
    gap_a, gap_b = np.minimum(a, long_m - a) - half_a, np.minimum(b, short_m - b) - half_b
    street = np.minimum(gap_a, gap_b) < 0
    kind = bits16(block, 0)
    core = level > 0.95 + 0.2 * (kind - 0.5)
    park = (kind > 0.94) & ~core
    works = (kind < 0.1 + 0.25 * (level < 0.5)) & ~core
    lot_m = np.where(core, np.float32(34), np.where(works, np.float32(55), np.float32(style.lot_m)))
    inner_a, inner_b = a - half_a - 2, b - half_b - 2
    la, lb = np.floor(inner_a / lot_m), np.floor(inner_b / lot_m)
    lot = address(block, (la * 64 + lb).astype(np.int64))
    pa, pb = inner_a / lot_m - la, inner_b / lot_m - lb
    left, low = 0.06 + 0.2 * bits16(lot, 0), 0.06 + 0.2 * bits16(lot, 1)
    # A house that would reach into the next street is not built.
    whole = ((la + 1) * lot_m < long_m - 2 * half_a) & ((lb + 1) * lot_m < short_m - 2 * half_b)
    inside = (
        (pa > left) & (pa < 0.9 - 0.15 * bits16(lot, 2)) & (pb > low) & (pb < 0.92 - 0.15 * bits16(lot, 1))
    )
    filled = np.minimum(style.filled * (0.55 + 0.6 * level), 1.0)
    house = inside & (bits16(lot, 3) < filled) & whole & ~street & ~park
    roofs = np.array(style.roofs, np.uint8)
    roof = roofs[(bits16(lot, 2) * len(roofs)).astype(np.int64)]
    big = np.array([M.ROOF_GREY, M.ROOF_WHITE, M.CONCRETE, M.ROOF_DARK, M.ROOF_GREY], np.uint8)
    roof = np.where(core, big[(bits16(lot, 2) * 5).astype(np.int64)], roof)
    roof = np.where(
        works, np.array([M.ROOF_WHITE, M.ROOF_BLUE, M.ROOF_GREY], np.uint8)[(kind * 97 % 3).astype(int)], roof
    )

    material, tone = canvas.material.ravel(), canvas.tone.ravel()
    height = canvas.height.ravel()
    grain = tone[flat] - 1
    lush = canvas.moisture.ravel()[flat] > 0.42
    yard = np.where(lush & (style.yard != M.CONCRETE), M.GRASS, style.yard)
    yard = np.where(core | works, M.CONCRETE, yard)
    crown = canvas.noise.fbm(k.TREES, 2.0**5, 2, 0.9).ravel()[flat] > np.where(lush, 0.75, 1.3) - 0.6 * park
    out = np.where(house, roof, np.where(crown, M.BROADLEAF, np.where(park, M.GRASS, yard)))
    out = np.where(street, M.ASPHALT, out)
    material[flat] = out
    tall = np.where(core, 12 + 50 * bits16(lot, 0) ** 3, np.where(works, 8.0, 4 + 4 * bits16(lot, 1)))
    if canvas.things is not None:
        canvas.things.ravel()[flat] = np.where(house, numbered(Thing.BUILDING, lot), np.uint64(0))
    height[flat] = np.where(house, tall, np.where(crown & ~street, 5.0, 0.0))
    # The two slopes of a roof differ in light.
    slope = np.where(~core & ~works & (pb > 0.5), 0.9, 1.06)
    tone[flat] = np.where(house, slope * (0.85 + 0.3 * bits16(lot, 3)), 1 + 0.6 * grain)
    if canvas.res_m < 2.5:
        lane = street & (np.minimum(gap_a, gap_b) > -4.2)
        slot = address(
            _SLOTS, *key, np.floor(along / 6).astype(np.int64), np.floor(across / 6).astype(np.int64)
        )
        busy = np.where(lane, 0.18 + 0.1 * level, 0)
        canvas.slot.ravel()[flat] = np.where(
            lane, (slot >> np.uint64(33)).astype(np.uint32) | np.uint32(1), 0
        )
        canvas.busy.ravel()[flat] = busy
