"""Slow fields of the planet: land, elevation, temperature, moisture, colour of the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.land import CELL_DEG, land_mask
from rsdata.sandbox.world.cities import cities
from rsdata.sandbox.world.grid import Grid, Ground
from rsdata.sandbox.world.noise import CONTINENT, RAIN, RED, RELIEF, WEATHER, Field, Noise

# lon, lat, half widths in degrees, amount: the few facts of the real Earth that noise cannot know.
_WET = [
    (112, 27, 16, 9, 0.5),
    (-84, 35, 13, 9, 0.42),
    (-54, -26, 8, 9, 0.4),
    (88, 23, 10, 6, 0.45),
    (136, 36, 9, 7, 0.4),
    (149, -32, 5, 8, 0.3),
    (31, -28, 4, 5, 0.25),
    (68, 43, 22, 7, -0.3),
    (-113, 38, 9, 9, -0.34),
    (132, -25, 13, 8, -0.25),
    (45, 28, 16, 8, -0.2),
    (8, 23, 30, 7, -0.45),
    (-70, -24, 3, 8, -0.35),
    (100, 42, 12, 5, -0.3),
]
_HIGH = [
    (87, 33, 13, 4.5, 4.2),
    (-68, -20, 4, 16, 3.0),
    (-77, 2, 3, 8, 2.0),
    (-110, 41, 7, 12, 1.9),
    (10, 46.6, 5, 1.2, 2.0),
    (39, 9, 4, 5, 1.8),
    (52, 33, 9, 5, 1.2),
    (9, 62, 3, 5, 0.9),
    (-41, 73, 14, 9, 2.6),
    (0, -85, 400, 14, 2.6),
    (44, 42.5, 5, 1.0, 1.8),
    (-102, 21, 4, 5, 1.7),
]

_ATLAS_DEG = 0.25


@dataclass
class Climate:
    """Fields at the knots, float32 [h, w]."""

    lat: Field
    """Degrees."""
    land: Field
    """Above 0.5 on land, before the coast's own noise."""
    height_km: Field
    """Metres above sea / 1000, without hills."""
    relief: Field
    """Size of hills and mountains, km."""
    temperature: Field
    """Mean of the year, °C."""
    swing: Field
    """Half the difference of the warmest and the coldest month, °C; below 0 in the south."""
    moisture: Field
    """About 0 (desert) to 1 (rain forest)."""
    redness: Field
    """0 (grey-brown) to 1 (red) ground."""
    people: Field
    """0 (empty) to 1 (dense) over about 50 km; where people are, they farm."""


def climate(ground: Ground, seed: int) -> Climate:
    """The climate at the knots of a ground, interpolated from one raster of the planet."""
    x, y, z = ground.knots.xyz
    lat = np.degrees(np.arcsin(np.clip(z, -1, 1)))
    lon = np.degrees(np.arctan2(y, x))
    land = _sample(_near_land()[None], CELL_DEG, lon, lat)[0]
    height, relief, temperature, swing, moisture, redness, people = _sample(
        _atlas(seed), _ATLAS_DEG, lon, lat
    )
    return Climate(
        lat.astype(np.float32), land, height * land, relief, temperature, swing, moisture, redness, people
    )


@lru_cache(maxsize=4)
def _atlas(seed: int) -> NDArray[np.float32]:
    """Height, relief, temperature, swing, moisture, redness, people; float32 [7, 720, 1440]."""
    rows, columns = round(180 / _ATLAS_DEG), round(360 / _ATLAS_DEG)
    ground = Ground.of(Grid("EPSG:4326", -180.0, 90.0, _ATLAS_DEG, columns, rows))
    noise = Noise(ground, seed)
    centre = (np.arange(rows) + 0.5) * _ATLAS_DEG
    lon, lat = np.meshgrid((np.arange(columns) + 0.5) * _ATLAS_DEG - 180, 90 - centre)
    lon, lat = lon.astype(np.float32), lat.astype(np.float32)
    inland = _sample(_inland()[None], 1.0, lon, lat)[0]
    broad = noise.fbm(CONTINENT, 2.0**21, 2.0**17, 0.5)
    mountain = np.clip(broad * 0.8 - 0.15, 0, 1) ** 2
    high = _bumps(_HIGH, lon, lat)
    ridge = 1 - np.abs(noise.fbm(RELIEF, 2.0**18, 2.0**17, 0.5))
    height = 0.08 + 1.6 * mountain + high * (0.75 + 0.25 * ridge)
    relief = 0.05 + 0.9 * mountain + 0.5 * np.clip(high, 0, 2.5)
    weather = noise.fbm(WEATHER, 2.0**21, 2.0**17, 0.55)
    latitude = np.abs(lat)
    temperature = 28 - 0.0079 * lat**2 + 3.2 * weather - 5.5 * height * inland
    swing = (1.5 + 0.29 * latitude) * (0.4 + 0.6 * inland) * np.tanh(lat / 6)
    moisture = 0.85 * np.exp(-((lat / 12) ** 2)) + 0.58 * np.exp(-(((latitude - 52) / 17) ** 2)) + 0.08
    moisture += 0.3 * noise.fbm(RAIN, 2.0**20, 2.0**17, 0.6) + 0.12 * (1 - inland) + _bumps(_WET, lon, lat)
    redness = np.clip((temperature - 12) / 16, 0, 1) * 0.6 + 0.45 * noise.fbm(RED, 2.0**20, 2.0**17, 0.5)
    fields = [
        height,
        relief,
        temperature,
        swing,
        np.clip(moisture, 0.02, 1.15),
        np.clip(redness, 0, 1),
        _people(),
    ]
    atlas = np.stack(fields).astype(np.float32)
    atlas.setflags(write=False)
    return atlas


def _bumps(table: Sequence[tuple[float, float, float, float, float]], lon: Field, lat: Field) -> Field:
    total = np.zeros_like(lat)
    for lon_0, lat_0, wide, tall, amount in table:
        east = (lon - lon_0 + 180) % 360 - 180
        total += np.float32(amount) * np.exp(-((east / wide) ** 2) - ((lat - lat_0) / tall) ** 2)
    return total


@lru_cache(maxsize=1)
def _near_land() -> NDArray[np.float32]:
    """The land mask blurred to about 15 km."""
    return _blur(land_mask().astype(np.float32), 1.3)


@lru_cache(maxsize=1)
def _inland() -> NDArray[np.float32]:
    """Share of land within about 400 km, one cell a degree."""
    mask = land_mask().astype(np.float32)
    cells = round(1 / CELL_DEG)
    return _blur(mask.reshape(180, cells, 360, cells).mean(axis=(1, 3)), 4.0)


def _people() -> NDArray[np.float32]:
    """How dense settlement is within about 50 km, 0 to 1, from the cities; cells of the atlas."""
    known = cities()
    raster = np.zeros((round(180 / _ATLAS_DEG), round(360 / _ATLAS_DEG)), np.float32)
    column = np.floor((known.lon + 180) / _ATLAS_DEG).astype(np.int64) % raster.shape[1]
    row = np.clip(np.floor((90 - known.lat) / _ATLAS_DEG).astype(np.int64), 0, raster.shape[0] - 1)
    np.add.at(raster, (row, column), np.sqrt(known.population.astype(np.float32)))
    return np.minimum(np.sqrt(_blur(raster, 2.4) / 150), 1)


def _blur(raster: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur of a raster of the whole planet; sigma in cells."""
    import cv2

    margin = round(4 * sigma) + 1
    wrapped = np.concatenate([raster[:, -margin:], raster, raster[:, :margin]], axis=1)
    blurred = cv2.GaussianBlur(wrapped, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(blurred[:, margin:-margin])


def _sample(
    rasters: NDArray[np.float32], cell: float, lon: NDArray[Any], lat: NDArray[Any]
) -> NDArray[np.float32]:
    """Bilinear, [N, rows, columns] -> [N, …]; columns wrap."""
    height, width = rasters.shape[1:]
    column = (lon.astype(np.float64) + 180) / cell - 0.5
    row = np.clip((90 - lat.astype(np.float64)) / cell - 0.5, 0, height - 1)
    left, top = np.floor(column).astype(np.int64), np.minimum(np.floor(row).astype(np.int64), height - 2)
    fx, fy = (column - left).astype(np.float32), (row - top).astype(np.float32)
    left, right = left % width, (left + 1) % width
    upper = rasters[:, top, left] * (1 - fx) + rasters[:, top, right] * fx
    lower = rasters[:, top + 1, left] * (1 - fx) + rasters[:, top + 1, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float32)
