"""A canvas on one date: growth, snow, shade, shadows, vehicles, haze and clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world.canvas import Canvas
from rsdata.sandbox.world.noise import Field
from rsdata.sandbox.world.sky import Moment, cloud_field, haze_of, season_temperature, sun, weather
from rsdata.sandbox.world.spectra import BANDS
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817
from shards.random import address, uniform

_CARS, _SITE = 801, 802

# Blue, green and red of paints: white, silver, black, grey, red, blue, brown.
_PAINT = np.array(
    [(0.5, 0.52, 0.53), (0.3, 0.31, 0.31), (0.03, 0.03, 0.03), (0.12, 0.12, 0.12), (0.06, 0.07, 0.3), (0.28, 0.14, 0.07), (0.1, 0.13, 0.17)],
    np.float32,
)  # fmt: skip


@dataclass
class Light:
    """Arrays [H, W] for one date."""

    material: NDArray[np.uint8]
    green: Field
    """Growth, 0 to 1."""
    shade: Field
    """Factor of sunlight by slope and shadow."""
    haze: Field
    snow: Field | None
    cloud: Field | None
    cars: NDArray[np.int64]
    """Flat indices of pixels under a vehicle."""
    paint: NDArray[np.int64]
    """Row of the table of paints for each of those."""


def light_of(canvas: Canvas, seed: int, moment: Moment) -> Light:
    """Light a canvas."""
    warmth = season_temperature(canvas.temperature, canvas.swing, moment.day)
    warmth -= np.float32(0.004) * np.clip(canvas.elevation - 600, 0, 2500)
    material, height, built = _built(canvas, seed, moment)
    green = _growth(canvas, warmth, moment, material)
    high, toward = sun(canvas.climate.lat, moment.day)
    ground = canvas.ground
    shade = ground.upsample(np.sqrt(np.sin(high)))
    shade *= _slopes(
        canvas, ground.upsample(1 / np.tan(high)), *(ground.upsample(f(toward)) for f in (np.sin, np.cos))
    )
    if canvas.res_m < 20 and height.any():
        shade *= 1 - np.float32(0.62) * _shadows(
            height, canvas.res_m, ground.upsample(np.tan(high)), ground.upsample(toward)
        )
    cover = cloud_field(ground, canvas.climate, seed, moment)
    cloud = cover if cover.any() else None
    under = cloud_field(ground, canvas.climate, seed, moment, shadow=True)
    if under.any():
        shade *= 1 - np.float32(0.5) * under
    warmth += ground.upsample(weather(ground, seed, moment))
    cars, paint = _vehicles(canvas, seed, moment)
    if built is not None:
        cars_ok = built.ravel()[cars]
        cars, paint = cars[cars_ok], paint[cars_ok]
    haze = haze_of(canvas.ground, canvas.climate, seed, moment)
    return Light(material, green, shade, haze, _snow(canvas, warmth, material), cloud, cars, paint)


def standing(canvas: Canvas, seed: int, moment: Moment) -> NDArray[np.uint64]:
    """The things of a canvas that are there on the date: what is not built yet is not, nor is who has left."""
    assert canvas.things is not None
    found = canvas.things.copy()
    _, _, built = _built(canvas, seed, moment)
    if built is not None:
        found[~built] = 0
    cars, _ = _vehicles(canvas, seed, moment)
    away = canvas.slot.ravel() > 0
    away[cars] = False
    found.ravel()[away] = 0
    return found


def shadow_px(res_m: float) -> int:
    """How far shadows are followed, pixels; a scene has this margin, so that tiles agree."""
    return int(np.clip(np.ceil(14 / res_m), 1, 7))


def vehicle_colours(light: Light, band: str) -> Field:
    """Reflectance of the pixels `light.cars` in a band."""
    column = np.interp(BANDS[band], [492, 560, 665], [0, 1, 2])
    low = int(column)
    part = np.float32(column - low)
    table = _PAINT[:, low] * (1 - part) + _PAINT[:, min(low + 1, 2)] * part
    return np.asarray(table[light.paint], np.float32)


def _built(
    canvas: Canvas, seed: int, moment: Moment
) -> tuple[NDArray[np.uint8], Field, NDArray[np.bool_] | None]:
    """Material and height on the date, with what is not yet built as bare ground; and the built mask, if needed."""
    if not canvas.work.any():
        return canvas.material, canvas.height, None
    years = moment.key / (24 * 365.25) - 30  # since 2000; sites fill between 2000 and 2024
    built = canvas.work <= years / 24
    return (
        np.where(built, canvas.material, np.uint8(M.SOIL)),
        np.where(built, canvas.height, 0).astype(np.float32),
        built,
    )


def _growth(canvas: Canvas, warmth: Field, moment: Moment, material: NDArray[np.uint8]) -> Field:
    """Green share of each pixel, 0 to 1."""
    green = np.clip((warmth - 3) / 9, 0, 1)
    # Warm and dry: grass and shrub brown in the dry season (the late local summer outside the tropics).
    drought = np.clip((0.75 - canvas.moisture) * 2.2, 0, 1) * np.clip((warmth - 14) / 12, 0, 1)
    green *= 1 - np.float32(0.85) * drought
    woods = (material == M.BROADLEAF) | (material == M.WETLAND)
    if woods.any():
        leaves = np.clip((warmth - 6) / 5, 0, 1)
        tropical = np.clip((canvas.temperature - 17) / 4, 0, 1)
        np.copyto(green, np.maximum(leaves, tropical * np.float32(0.9)) * (1 - 0.5 * drought), where=woods)
    crops = np.flatnonzero(material.ravel() == M.CROP)
    if crops.size:
        spread = canvas.spread.ravel()[crops]
        gap = (canvas.peak.ravel()[crops] - np.float32(moment.day) + 182.6) % 365.25 - 182.6
        grown = np.exp(-((gap / np.maximum(spread, 1)) ** 2)) * (spread > 0)
        green.ravel()[crops] = grown * np.clip((warmth.ravel()[crops] + 2) / 8, 0, 1)
    return np.asarray(green, np.float32)


def _snow(canvas: Canvas, warmth: Field, material: NDArray[np.uint8]) -> Field | None:
    if float(warmth.min()) > 1:
        return None
    amount = np.clip((-2 - warmth) / 8 + 1.2 * (canvas.tone - 1), 0, 0.85) * np.clip(
        canvas.moisture * 3, 0, 1
    )
    amount[(material == M.CONIFER)] *= 0.35
    amount[(material == M.BROADLEAF)] *= 0.6
    amount[(material == M.ASPHALT) | (material == M.SOLAR)] *= 0.3
    open_water = (material == M.WATER) | (material == M.TURBID)
    amount[open_water] = np.clip((-6 - warmth[open_water]) / 5, 0, 0.7)
    return np.asarray(amount, np.float32)


def _slopes(canvas: Canvas, low: Field, east_share: Field, north_share: Field) -> Field:
    """Lambert shading of hills, 1 on flat ground; `low` is the cotangent of the sun's elevation."""
    z = canvas.elevation
    scale = np.float32(1 / (2 * canvas.res_m))
    east, north = np.zeros_like(z), np.zeros_like(z)
    east[:, 1:-1] = (z[:, 2:] - z[:, :-2]) * scale
    north[1:-1] = (z[:-2] - z[2:]) * scale
    return np.clip(1 - (east * east_share + north * north_share) * low, 0.45, 1.5)


def _shadows(height: Field, res_m: float, rise: Field, toward: Field) -> Field:
    """1 where something towards the sun stands in the way, looking as far as the margin of a scene.

    Args:
        height: metres above the ground.
        res_m: metres a pixel.
        rise: tangent of the sun's elevation.
        toward: azimuth of the sun, radians; rounded to 5°, and each value looked at apart, so that tiles agree.
    """
    sectors = np.rint(toward * np.float32(36 / np.pi)).astype(np.int8)
    rise = rise * np.float32(res_m)
    steps = shadow_px(res_m)
    total = np.zeros(height.shape, bool)
    first, last = int(sectors.min()), int(sectors.max())
    for sector in range(first, last + 1):
        angle = sector * np.pi / 36
        shadow = np.zeros(height.shape, bool)
        before = (0, 0)
        for step in range(1, steps + 1):
            dx, dy = round(step * np.sin(angle)), round(-step * np.cos(angle))
            if (dx, dy) != before:
                before = (dx, dy)
                y, x = _overlap(height.shape[0], dy), _overlap(height.shape[1], dx)
                here = (y[0], x[0])
                shadow[here] |= height[y[1], x[1]] > height[here] + rise[here] * step + 0.5
        total |= shadow if first == last else shadow & (sectors == sector)
    return total.astype(np.float32)


def _overlap(size: int, shift: int) -> tuple[slice, slice]:
    """Slices of the points and of the points `shift` further on."""
    if shift >= 0:
        return slice(0, size - shift), slice(shift, size)
    return slice(-shift, size), slice(0, size + shift)


def _vehicles(canvas: Canvas, seed: int, moment: Moment) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    flat = np.flatnonzero(canvas.slot.ravel())
    if not flat.size:
        return flat, flat
    hashed = address(seed, _CARS, moment.key, canvas.slot.ravel()[flat].astype(np.int64))
    crowd = 0.5 + float(uniform(seed, _SITE, moment.key, count=1)[0])
    here = (hashed & np.uint64(0xFFFF)).astype(np.float32) < canvas.busy.ravel()[flat] * np.float32(
        65536 * crowd
    )
    return flat[here], ((hashed[here] >> np.uint64(20)) % np.uint64(len(_PAINT))).astype(np.int64)
