"""Pixels of a scene on any grid: the nearest cell of its native grid, or of a coarser level where less is asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rsdata.sandbox.scenes.products import NO_QA60, Band
from rsdata.sandbox.scenes.scene import Scene
from rsdata.sandbox.world import COVER, Grid, World
from rsdata.sandbox.world import Scene as Place
from rsdata.sandbox.world.climate import climate
from rsdata.sandbox.world.grid import Ground, transformer
from rsdata.sandbox.world.sky import Moment, cloud_field
from rsdata.sandbox.world.spectra import path_radiance

Transform = tuple[float, float, float, float, float, float]
Pixels = NDArray[Any]
Mask = NDArray[np.bool_]

_DERIVED = {"clouds", "classes", "qa60", "qa_pixel", "opaque", "cirrus_px"}
_FROM = {"pan": ("green", "red"), "kelvin": ("swir2",)}
_CLASS_OF = np.array([6, 5, 4, 4, 4, 4, 4, 4, 11, 5], np.uint8)
"""Position in COVER -> class of the scene classification of level 2A."""
_HAZE_OFF = 0.05
"""Share of a full haze's path radiance that the atmospheric correction of level 2A takes off."""


def pixels(
    scene: Scene, band: str, transform: Sequence[float], width: int, height: int, crs: str | None = None
) -> tuple[Pixels, Mask]:
    """Values and validity, [H, W] each, of one band; see `stack`.

    Raises:
        KeyError: the scene has no such band.
    """
    values, masks = stack(scene, [band], transform, width, height, crs)
    return values[0], masks[0]


def stack(
    scene: Scene,
    bands: Sequence[str],
    transform: Sequence[float],
    width: int,
    height: int,
    crs: str | None = None,
) -> tuple[list[Pixels], list[Mask]]:
    """Values (dtype of the band, 0 where nothing is) and validity of several bands, [H, W] each.

    A pixel is the cell of the band's native grid that holds its centre. Where pixels are two or more times as large,
    cells of twice (four times, …) the native size are taken.

    Args:
        scene: what is read.
        bands: names.
        transform: affine a, b, c, d, e, f of the asked grid, upper left corner convention.
        width: pixels.
        height: pixels.
        crs: of the asked grid; the scene's own by default.

    Raises:
        KeyError: the scene has no such band.
    """
    missing = [name for name in bands if name not in scene.bands]
    if missing:
        raise KeyError(missing[0])
    groups: dict[tuple[int, bool], list[Band]] = {}
    for name in bands:
        band = scene.product.band(name)
        groups.setdefault((band.gsd_m, band.world in _DERIVED), []).append(band)
    values: dict[str, Pixels] = {}
    masks: dict[str, Mask] = {}
    a, b, c, d, e, f = (float(value) for value in transform)
    for (gsd_m, derived), members in groups.items():
        rows, columns, size = _cells(scene, gsd_m, (a, b, c, d, e, f), width, height, crs or scene.crs)
        if not len(rows) or not len(columns):
            continue
        top, left = int(rows.min()), int(columns.min())
        window = (size, left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1)
        valid = _valid(scene, *window)
        for band in members:
            native = (_derived if derived else _spectral)(scene, gsd_m, *window)[band.name]
            inside = valid
            if band.world == "qa60" and NO_QA60[0] <= scene.time < NO_QA60[1]:
                inside = np.zeros_like(valid)
            if rows.ndim == 1:  # an upright grid: rows and columns apart
                y, x = rows - top, columns - left
                if len(y) == native.shape[0] and len(x) == native.shape[1]:
                    picked, kept = native, inside
                else:
                    picked, kept = native[y][:, x], inside[y][:, x]
            else:
                picked, kept = native[rows - top, columns - left], inside[rows - top, columns - left]
            values[band.name] = np.where(kept, picked, np.zeros((), picked.dtype))
            masks[band.name] = kept.copy()
    return [values[name] for name in bands], [masks[name] for name in bands]


def _cells(
    scene: Scene, gsd_m: int, transform: Transform, width: int, height: int, crs: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Rows and columns of native cells under pixel centres ([H] and [W], or [H, W] each), and the side of a cell, m."""
    a, b, c, d, e, f = transform
    left, top = scene.transform(gsd_m)[2], scene.transform(gsd_m)[5]
    if crs == scene.crs and b == d == 0:
        x, y = c + (np.arange(width) + 0.5) * a, f + (np.arange(height) + 0.5) * e
        size = _level(gsd_m, min(abs(a), abs(e)))
    else:
        column, row = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        x, y = a * column + b * row + c, d * column + e * row + f
        if crs != scene.crs:
            lon, lat = (x, y) if crs == "EPSG:4326" else transformer(crs).transform(x, y)
            x, y = transformer(scene.crs).transform(lon, lat, direction="INVERSE")
        # The size of a pixel on the ground, from two neighbours in the middle.
        i, j = height // 2, width // 2
        steps = [
            float(np.hypot(x[p] - x[q], y[p] - y[q]))
            for p, q in (
                ((i, j), (i, j - 1 if j else min(1, width - 1))),
                ((i, j), (i - 1 if i else min(1, height - 1), j)),
            )
        ]
        size = _level(gsd_m, min([step for step in steps if step > 0] or [gsd_m]))
    far = 10 * max(scene.width_m, scene.height_m)
    x, y = np.nan_to_num(x, nan=left - far), np.nan_to_num(y, nan=top - far)
    rows = np.floor((top - np.clip(y, top - far, top + far)) / size).astype(np.int64)
    columns = np.floor((np.clip(x, left - far, left + far) - left) / size).astype(np.int64)
    # Cells outside of the raster are all masked; keep the window small.
    last_row, last_column = int(scene.height_m // size), int(scene.width_m // size)
    return np.clip(rows, -1, last_row), np.clip(columns, -1, last_column), size


def _level(gsd_m: int, asked_m: float) -> int:
    size = gsd_m
    while size * 2 <= asked_m * (1 + 1e-9):
        size *= 2
    return size


def _grid(scene: Scene, size: int, left: int, top: int, width: int, height: int) -> Grid:
    _, _, x, _, _, y = scene.transform(size)
    return Grid(scene.crs, x + left * size, y - top * size, float(size), width, height)


@lru_cache(maxsize=64)  # about 5 MB each
def _place(seed: int, grid: Grid) -> Place:
    """The ground of a grid: the dear part, the same for all dates."""
    return World(seed).scene(grid)


def _sky(scene: Scene) -> datetime:
    return datetime.fromtimestamp(scene.sensed / 1000, UTC)


@lru_cache(maxsize=64)
def _spectral(
    scene: Scene, gsd_m: int, size: int, left: int, top: int, width: int, height: int
) -> dict[str, Pixels]:
    """All measured bands of a resolution in a window of native (or coarser) cells."""
    bands = [band for band in scene.product.bands if band.gsd_m == gsd_m and band.world not in _DERIVED]
    needed = list(dict.fromkeys(name for band in bands for name in _FROM.get(band.world, (band.world,))))
    place = _place(scene.seed, _grid(scene, size, left, top, width, height))
    planes = dict(zip(needed, place.reflectance(_sky(scene), needed), strict=True))
    out: dict[str, Pixels] = {}
    for band in bands:
        if band.world == "pan":
            plane = (planes["green"] + planes["red"]) / 2
        elif band.world == "kelvin":
            plane = np.float32(278) + 60 * planes["swir2"]
        else:
            plane = planes[band.world]
        if band.dtype == "float32":
            out[band.name] = plane.astype(np.float32)
            continue
        if scene.sensor == "s2-l2a":
            plane = plane - np.float32(_HAZE_OFF * path_radiance(band.world))
        out[band.name] = np.clip(np.rint(plane * 10_000), 1, 65_535).astype(np.uint16)
    return out


@lru_cache(maxsize=64)
def _derived(
    scene: Scene, gsd_m: int, size: int, left: int, top: int, width: int, height: int
) -> dict[str, Pixels]:
    """All quality bands of a resolution: they tell the clouds that the measured bands show."""
    grid = _grid(scene, size, left, top, width, height)
    ground = Ground.of(grid)
    here, moment = climate(ground, scene.seed), Moment.of(_sky(scene))
    cloud = cloud_field(ground, here, scene.seed, moment)
    thick, thin = cloud > 0.3, (cloud > 0.1) & (cloud <= 0.3)
    out: dict[str, Pixels] = {}
    for band in scene.product.bands:
        if band.gsd_m != gsd_m:
            continue
        match band.world:
            case "clouds":
                out[band.name] = np.rint(np.clip(cloud / 0.6, 0, 1) * 100).astype(np.uint8)
            case "opaque":
                out[band.name] = thick.astype(np.uint8)
            case "cirrus_px":
                out[band.name] = thin.astype(np.uint8)
            case "qa60":
                out[band.name] = (thick.astype(np.uint16) << 10) | (thin.astype(np.uint16) << 11)
            case "classes" | "qa_pixel":
                shadow = cloud_field(ground, here, scene.seed, moment, shadow=True) > 0.3
                cover = _place(scene.seed, grid).landcover()
                classes = _CLASS_OF[cover]
                classes[shadow] = 3
                classes[thin] = 10
                classes[thick] = 8
                classes[cloud > 0.6] = 9
                water = (cover == COVER.index("water")) & ~thick
                qa = (
                    (thick.astype(np.uint16) << 3)
                    | (thin.astype(np.uint16) << 2)
                    | ((shadow & ~thick).astype(np.uint16) << 4)
                    | ((~thick).astype(np.uint16) << 6)
                    | (water.astype(np.uint16) << 7)
                )
                out[band.name] = classes if band.world == "classes" else qa
    return out


@lru_cache(maxsize=64)
def _valid(scene: Scene, size: int, left: int, top: int, width: int, height: int) -> Mask:
    """Whether each cell lies in the raster and its centre in the footprint."""
    grid = _grid(scene, size, left, top, width, height)
    rows, columns = scene.shape(size)
    y, x = np.arange(top, top + height), np.arange(left, left + width)
    inside = ((y >= 0) & (y < rows))[:, None] & ((x >= 0) & (x < columns))[None]
    half = size / 2
    low = (grid.x0 + half, grid.y0 - height * size + half)
    high = (grid.x0 + width * size - half, grid.y0 - half)
    shift = scene.transform(size)[2] - scene.origin_x
    outline = shapely.affinity.translate(scene.outline, shift, shift) if shift else scene.outline
    if not outline.covers(shapely.box(*low, *high)):
        east = grid.x0 + (np.arange(width) + 0.5) * size
        north = grid.y0 - (np.arange(height) + 0.5) * size
        east, north = np.meshgrid(east, north)
        inside &= shapely.contains_xy(outline, east, north)
    inside.setflags(write=False)
    return inside
