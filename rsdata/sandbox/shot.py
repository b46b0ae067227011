"""One picture of the planet with what is in it: outlines of its objects and the cover of each pixel."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.fmow_tree import FmowTree, place_of
from rsdata.sandbox.world import Grid, World
from rsdata.sandbox.world.spectra import COVER_OF
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817
from rsdata.sandbox.world.things import Thing, kind_of
from shards.random import stream, uniform

GSD_M = 0.8
_SHOT = stream("sandbox shot")
_FIRST = datetime(2024, 6, 1, tzinfo=UTC)
"""When everything that is ever built stands."""
_DAYS = 700
_LEAST_PX = 12
"""Smaller objects, such as houses that the frame cuts, are not labelled."""
_STEP = 16

SITES = ("airport", "port", "storage_tank", "single-unit_residential", "multi-unit_residential", "wind_farm")
COVERS = ("background", "building", "road", "water", "barren", "forest", "agricultural")
"""Classes of `Shot.cover`, those of LoveDA."""

_BARREN = (M.SAND, M.ROCK, M.SOIL, M.GRAVEL)


@dataclass(frozen=True)
class Outline:
    """An object: the edges of its pixels."""

    kind: Thing
    rings: tuple[tuple[tuple[int, int], ...], ...]
    """Outside, then holes; corners x, y in pixels, the first not repeated."""
    turned: tuple[tuple[float, float], ...]
    """Four corners of the smallest rectangle round it."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom; right and bottom are outside."""
        xs, ys = zip(*self.rings[0], strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True)
class Shot:
    """The picture of a place."""

    name: str
    split: str
    pixels: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    objects: tuple[Outline, ...]
    cover: NDArray[np.uint8]
    """Positions in COVERS [H, W]."""
    grid: Grid


@lru_cache(maxsize=4)
def shots(places: int, seed: int, side: int, sites: tuple[str, ...] = SITES) -> tuple[Shot, ...]:
    """One of each place; a third of the places lies apart and is `val`."""
    return tuple(shot(number, places, seed, side, sites) for number in range(places))


def shot(number: int, places: int, seed: int, side: int, sites: tuple[str, ...] = SITES) -> Shot:
    """The frame round a site that has the most objects in it.

    Args:
        number: of the place.
        places: how many there are.
        seed: of the planet.
        side: of the picture, pixels.
        sites: functions of the sites, by turns.
    """
    plan = FmowTree(Path(), places, sites, seed, 1 / 3)
    place, world = place_of(plan, number), _world(seed)
    wide = Grid.around(place.site.lon, place.site.lat, GSD_M, side + 10 * _STEP)
    time = _clear(world, wide, (seed, _SHOT, number))
    scene = world.scene(wide, [place.site], things=True)
    whole = scene.things(time)
    left, top = _fullest(whole, side)
    frame = (slice(top, top + side), slice(left, left + side))
    things = np.ascontiguousarray(whole[frame])
    material = scene.canvas.material[scene.margin :, scene.margin :][frame]
    kinds = kind_of(things)
    cover = np.where(
        kinds == Thing.BUILDING, COVERS.index("building"), np.where(kinds > 0, 0, _COVER[material])
    )
    return Shot(
        name=f"{number:05d}",
        split=place.split,
        pixels=np.ascontiguousarray(scene.rgb(time, acquisition=number)[frame]),
        objects=tuple(_outlines(things)),
        cover=cover.astype(np.uint8),
        grid=Grid(wide.crs, wide.x0 + left * wide.res, wide.y0 - top * wide.res, wide.res, side, side),
    )


def _cover_table() -> NDArray[np.uint8]:
    """Material -> position in COVERS."""
    natural = {0: "water", 1: "barren", 4: "forest", 5: "forest", 6: "agricultural"}
    table = np.zeros(len(COVER_OF), np.uint8)
    for material, cover in enumerate(COVER_OF.tolist()):
        table[material] = COVERS.index(natural.get(cover, "background"))
    table[[*_BARREN]] = COVERS.index("barren")
    table[M.ASPHALT] = COVERS.index("road")
    return table


_COVER = _cover_table()


@lru_cache(maxsize=2)
def _world(seed: int) -> World:
    return World(seed)


def _clear(world: World, grid: Grid, key: tuple[int, ...]) -> datetime:
    """The least cloudy of a dozen mornings."""
    small = Grid(grid.crs, grid.x0, grid.y0, grid.res * grid.width / 8, 8, 8)
    days = uniform(*key, count=12) * _DAYS
    times = [_FIRST + timedelta(days=int(day), hours=10.5) for day in days]
    return min(times, key=lambda time: float(world.cloud(small, time).mean()))


def _fullest(things: NDArray[np.uint64], side: int) -> tuple[int, int]:
    """Left and top of the frame with the most pixels of things; of equal ones the most central."""
    sums = np.pad((things > 0).astype(np.int64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    starts = range(0, things.shape[0] - side + 1, _STEP)
    middle = (things.shape[0] - side) / 2

    def value(corner: tuple[int, int]) -> tuple[int, float]:
        left, top = corner
        right, bottom = left + side, top + side
        inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return int(inside), -abs(left - middle) - abs(top - middle)

    return max(((left, top) for top in starts for left in starts), key=value)


def _outlines(things: NDArray[np.uint64]) -> list[Outline]:
    """Connected pixels of one number are an object; in the order of their first corners."""
    import cv2
    from rasterio.features import shapes

    numbers, places = np.unique(things, return_inverse=True)
    kinds = kind_of(numbers)
    regions = places.reshape(things.shape).astype(np.int32)
    out = []
    for shape, value in shapes(regions, mask=things > 0, connectivity=4):
        rings = tuple(tuple((int(x), int(y)) for x, y in ring[:-1]) for ring in shape["coordinates"])
        outside = np.array(rings[0], np.float32)
        if cv2.contourArea(outside) < _LEAST_PX:
            continue
        turned = cv2.boxPoints(cv2.minAreaRect(outside)).tolist()
        out.append(Outline(Thing(int(kinds[int(value)])), rings, tuple((x, y) for x, y in turned)))
    return sorted(out, key=lambda outline: outline.rings)
