"""Photos of the planet: what one shows, where it was taken and what will go wrong with it, by its id alone."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world import COVER, Grid, World
from rsdata.sandbox.world.cities import cities
from shards.codec import encode_jpeg
from shards.random import choice, generator, stream, uniform

Fate = Literal[
    "whole",
    "placeholder",
    "missing",
    "truncated",
    "slow",
    "private",
    "moved",
    "nowhere",
    "deleted",
    "null",
    "busy",
]
"""What becomes of a photo.

whole: nothing. placeholder: the picture that stands for it, with status 200. missing: 404. truncated: the file ends early
at its source. slow: it drips. private: a redirect into a private network. moved: only where the list has it. nowhere: no
location. deleted: the API does not know it. null: at (0, 0). busy: the API says so when it is asked first.
"""
FATES: tuple[Fate, ...] = get_args(Fate)
KEPT: frozenset[Fate] = frozenset({"whole", "slow", "moved", "busy"})
"""Fates of photos that make it into a set."""

PLACES = 96
"""Regions that photos are of; each is one scene, which is rendered once."""
_RES_M, _SCENE_PX = 10.0, 448
_FATE, _PLACE, _CROP = stream("flickr fate"), stream("flickr place"), stream("flickr crop")
_DAYS = [datetime(2009, 6, day, 10, 30, tzinfo=UTC) for day in (3, 10, 17, 24)]


def fates_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position in FATES of each id."""
    return choice(len(FATES), _FATE, ids)


def fate_of(photo: int) -> Fate:
    """What becomes of a photo."""
    return FATES[int(fates_of(np.array([photo]))[0])]


def places_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Region of each id, below PLACES."""
    return choice(PLACES, _PLACE, ids)


def crop_of(photo: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of a photo in the scene of its region, pixels."""
    draw = uniform(_CROP, photo, count=4)
    width, height = int(200 + 81 * draw[0]), int(200 + 81 * draw[1])
    return int(draw[2] * (_SCENE_PX - width)), int(draw[3] * (_SCENE_PX - height)), width, height


def region_of(photo: int) -> int:
    """Region of a photo."""
    return int(places_of(np.array([photo]))[0])


def location_of(photo: int, seed: int) -> tuple[float, float]:
    """Longitude and latitude of the middle of a photo, six decimals, as the API gives them."""
    left, top, width, height = crop_of(photo)
    lon, lat = _grid(region_of(photo), seed).lonlat(left + width / 2, top + height / 2)
    return round(float(lon), 6), round(float(lat), 6)


def names_of(photo: int, seed: int) -> Mapping[str, str]:
    """Names of the place: the nearest city, and its country by ISO 3166 alpha-3."""
    known = cities()
    city = _city(region_of(photo), seed)
    return {"locality": known.name[city], "country": known.country[city]}


def cover_of(photo: int, seed: int) -> str:
    """What covers most of the photo, a name of COVER."""
    left, top, width, height = crop_of(photo)
    cover = _region(region_of(photo), seed).cover[top : top + height, left : left + width]
    return COVER[int(np.bincount(cover.ravel(), minlength=len(COVER)).argmax())]


def jpeg_of(photo: int, seed: int) -> bytes:
    """The image, about 30 KB."""
    left, top, width, height = crop_of(photo)
    pixels = _region(region_of(photo), seed).pixels[top : top + height, left : left + width]
    return encode_jpeg(np.ascontiguousarray(pixels), 93)


@lru_cache(maxsize=4 * PLACES)
def _city(region: int, seed: int) -> int:
    """One of the 2,000 largest cities."""
    return int(choice(2000, _PLACE, seed, region))


@lru_cache(maxsize=4 * PLACES)
def _grid(region: int, seed: int) -> Grid:
    """Some kilometres off the middle of the city, so that there is more than houses."""
    known = cities()
    city = _city(region, seed)
    east, north = generator(_PLACE, seed, region, 1).uniform(-0.08, 0.08, 2)
    lon, lat = float(known.lon[city] + east), float(np.clip(known.lat[city] + north, -80, 80))
    return Grid.around((lon + 180) % 360 - 180, lat, _RES_M, _SCENE_PX)


@dataclass(frozen=True)
class _Region:
    """One scene, seen on the clearest of a few days."""

    pixels: NDArray[np.uint8]
    cover: NDArray[np.uint8]


_rendering = threading.Lock()
_rendered: dict[tuple[int, int], _Region] = {}


def _region(region: int, seed: int) -> _Region:
    """Rendered once, however many ask at the same time."""
    key = (region, seed)
    if key not in _rendered:
        with _rendering:
            if key not in _rendered:
                _rendered[key] = _render(region, seed)
    return _rendered[key]


def _render(region: int, seed: int) -> _Region:
    grid, world = _grid(region, seed), World(seed)
    coarse = Grid(grid.crs, grid.x0, grid.y0, grid.res * 16, grid.width // 16, grid.height // 16)
    clearest = min(_DAYS, key=lambda day: float(world.cloud(coarse, day).mean()))
    scene = world.scene(grid)
    return _Region(scene.rgb(clearest), scene.landcover())
