"""Keeping places apart: exact distances on the sphere, in time proportional to the number of places."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rsdata.places.draw import Draw, Floats
from shards.errors import ConfigError
from shards.sphere import EARTH_RADIUS_KM, unit_vectors

ATTEMPTS = 1000
"""Draws for one place, then the plan is refused."""
_BATCH, _FIRST, _MORE = 1 << 14, 8, 62
_SPAN = 1 << 20
_SMALLEST_CELL = 4e-6  # of the radius, 25 m: cells that are numbered with 20 bits a direction


class Taken:
    """Points of the sphere in cubes as wide as the distance: whatever is too near lies in one of 27 cubes.

    There is no antimeridian and no pole in the cubes. `apart_km` 0 keeps nothing apart.
    """

    def __init__(self, apart_km: float) -> None:
        self.apart_km = apart_km
        self._chord = 2 * math.sin(min(apart_km / EARTH_RADIUS_KM, math.pi) / 2)
        self._cell = max(self._chord, _SMALLEST_CELL)
        self._near = [(i * _SPAN + j) * _SPAN + k for i, j, k in product((-1, 0, 1), repeat=3)]
        self._held: dict[int, list[tuple[float, float, float]]] = {}

    def prepared(self, lon: Floats, lat: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """Unit vectors [..., 3] and cubes [...] of points, for `take`."""
        xyz = unit_vectors(lon, lat)
        cube = np.floor((xyz + 1) / self._cell).astype(np.int64) + 1
        return xyz, (cube[..., 0] * _SPAN + cube[..., 1]) * _SPAN + cube[..., 2]

    def take(self, xyz: tuple[float, float, float], cube: int, *, unless_near: bool = True) -> bool:
        """Take a point unless it is too near to one that is taken; whether it was taken."""
        if unless_near and self.apart_km and self._is_near(xyz, cube):
            return False
        self._held.setdefault(cube, []).append(xyz)
        return True

    def keep(self, lon: Floats, lat: Floats) -> NDArray[np.bool_]:
        """Take points one after the other; which of them were taken."""
        xyz, cube = self.prepared(lon, lat)
        found = [self.take((x, y, z), c) for (x, y, z), c in zip(xyz.tolist(), cube.tolist(), strict=True)]
        return np.array(found, bool)

    def add(self, lon: Floats, lat: Floats) -> int:
        """Take points however near they are to each other; how many."""
        xyz, cube = self.prepared(lon, lat)
        for (x, y, z), c in zip(xyz.tolist(), cube.tolist(), strict=True):
            self.take((x, y, z), c, unless_near=False)
        return len(lon)

    def _is_near(self, xyz: tuple[float, float, float], cube: int) -> bool:
        x, y, z = xyz
        limit, held = self._chord**2, self._held
        for step in self._near:
            points = held.get(cube + step)
            if points is not None:
                for a, b, c in points:
                    if (x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 < limit:
                        return True
        return False


def place_all(draw: Draw, count: int, taken: Taken, *, batch: int = _BATCH) -> tuple[Floats, Floats, int]:
    """The first `count` places: of each the first draw that may be there and is near to none before it.

    Args:
        draw: the draws of each place.
        count: of places.
        taken: what to keep away from; the places are added to it.
        batch: places that are drawn at once; it changes nothing but memory and time.

    Returns:
        Longitudes, latitudes, and how many draws were of no use.

    Raises:
        ConfigError: a place found no room.
    """
    lon, lat = np.empty(count), np.empty(count)
    again = 0
    for start in range(0, count, batch):
        place = np.arange(start, min(count, start + batch))
        first = _Draws(draw, taken, place[:, None], np.arange(_FIRST))
        for i in range(len(place)):
            draws, row, used = first, i, 0
            while (found := draws.take(row)) is None:
                used += draws.attempts
                if used >= ATTEMPTS:
                    raise _no_room(start + i, count, taken)
                draws, row = _Draws(draw, taken, place[i : i + 1, None], np.arange(used, used + _MORE)), 0
            lon[start + i], lat[start + i] = draws.lon[row, found], draws.lat[row, found]
            again += used + found
    return lon, lat, again


class _Draws:
    """Some attempts [A] of some places [N]."""

    def __init__(
        self, draw: Draw, taken: Taken, place: NDArray[np.int64], attempt: NDArray[np.int64]
    ) -> None:
        self.attempts = len(attempt)
        self.lon, self.lat, fits = draw(place, attempt)
        xyz, cube = taken.prepared(self.lon, self.lat)
        self._taken, self._xyz, self._cube, self._fits = taken, xyz, cube.tolist(), fits.tolist()

    def take(self, row: int) -> int | None:
        """The first attempt of a place that finds room; None where none does."""
        for attempt, fits in enumerate(self._fits[row]):
            if fits:
                x, y, z = self._xyz[row, attempt].tolist()
                if self._taken.take((x, y, z), self._cube[row][attempt]):
                    return attempt
        return None


def _no_room(place: int, count: int, taken: Taken) -> ConfigError:
    return ConfigError(
        f"there is no room for {count:,} places: number {place + 1:,} found none in {ATTEMPTS:,} draws that is "
        f"{taken.apart_km:.4g} km from all others\n"
        "  Plan fewer --locations, choose a smaller --min-distance-km, or a wider area (--std-km, --top-cities, --polygons)."
    )
