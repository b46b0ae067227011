"""Random points on the Earth: each a pure function of (seed, place, attempt)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rsdata.places import MAX_LAT
from shards.random import choice, stream, uniform
from shards.sphere import EARTH_RADIUS_KM

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Draw = Callable[[Ints, Ints], tuple[Floats, Floats, NDArray[np.bool_]]]
"""Place and attempt (broadcast against each other) -> lon, lat, and whether a place may be there at all."""

_CITY, _POINT = stream("places/city"), stream("places/point")
_DECIMALS = 7
"""Of a degree, about a centimetre: libraries of mathematics may differ in the last bits, plans must not."""


def degrees_of(km: float) -> float:
    """Kilometres along a meridian in degrees, on the sphere of 6371 km that the published code takes."""
    return km * 360 / (2 * math.pi * 6371)


def wrapped(lon: Floats) -> Floats:
    """Longitudes in [-180, 180), as they are written into plans."""
    out = np.round((lon + 180) % 360 - 180, _DECIMALS)
    return np.where(out >= 180, -180.0, out)


def settled(lon: Floats, lat: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Coordinates as they are written into plans, and whether there are UTM zones so far north or south."""
    return wrapped(lon), np.round(lat, _DECIMALS), np.abs(lat) <= MAX_LAT


def around(lon: Floats, lat: Floats, std_km: float, seed: int) -> Draw:
    """One of the centres, each equally often, and a Gaussian round it: kilometres in any direction on the sphere."""

    def draw(place: Ints, attempt: Ints) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        city = choice(len(lon), _CITY, seed, place, attempt)
        east, north = _normal(seed, place, attempt)
        arc = std_km / EARTH_RADIUS_KM * np.hypot(east, north)
        bearing = np.arctan2(east, north)
        phi, sin_arc, cos_arc = np.radians(lat[city]), np.sin(arc), np.cos(arc)
        sin_lat = np.clip(np.sin(phi) * cos_arc + np.cos(phi) * sin_arc * np.cos(bearing), -1, 1)
        turn = np.arctan2(np.sin(bearing) * sin_arc * np.cos(phi), cos_arc - np.sin(phi) * sin_lat)
        return settled(lon[city] + np.degrees(turn), np.degrees(np.arcsin(sin_lat)))

    return draw


def around_in_degrees(lon: Floats, lat: Floats, std_km: float, seed: int) -> Draw:
    """As the published code has it: the same degrees east and north, so towards the poles too little to the east."""

    def draw(place: Ints, attempt: Ints) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        city = choice(len(lon), _CITY, seed, place, attempt)
        east, north = _normal(seed, place, attempt)
        std = degrees_of(std_km)
        return settled(lon[city] + std * east, lat[city] + std * north)

    return draw


def uniform_on_sphere(seed: int, *, land: bool = False, latitudes_alike: bool = False) -> Draw:
    """Every square kilometre equally often; with `latitudes_alike` every degree of latitude, as in the published code."""
    from rsdata.land import is_land

    def draw(place: Ints, attempt: Ints) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        u = uniform(_POINT, seed, place, attempt, count=2)
        lat = u[..., 1] * 180 - 90 if latitudes_alike else np.degrees(np.arcsin(2 * u[..., 1] - 1))
        lon, lat, fits = settled(u[..., 0] * 360 - 180, lat)
        return lon, lat, fits & is_land(lon, lat) if land else fits

    return draw


def _normal(seed: int, place: Ints, attempt: Ints) -> tuple[Floats, Floats]:
    """Two independent standard normals (Box and Muller 1958)."""
    u = uniform(_POINT, seed, place, attempt, count=2)
    radius, angle = np.sqrt(-2 * np.log1p(-u[..., 0])), 2 * np.pi * u[..., 1]
    return radius * np.cos(angle), radius * np.sin(angle)
