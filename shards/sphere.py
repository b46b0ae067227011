"""Geometry on the unit sphere: right across the antimeridian and at the poles, where degrees are not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EARTH_RADIUS_KM = 6371.0088
"""Mean radius (IUGG)."""
_SCORES = 1 << 17  # a megabyte of scores stays in a core's cache: twice as fast as eight


def unit_vectors(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
    """Degrees to points on the unit sphere, [N, 3]."""
    lon, lat = np.radians(np.asarray(lon, np.float64)), np.radians(np.asarray(lat, np.float64))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def lon_lat(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The way back; vectors need not have unit length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def great_circle_km(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance between unit vectors, kilometres; exact for close points too."""
    chord = np.linalg.norm(a - b, axis=-1)
    out: NDArray[np.float64] = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(chord / 2, 1.0))
    return out


def nearest(points: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the nearest centre by Euclidean distance, [N]; points [N, D], centres [K, D]."""
    out = np.empty(len(points), np.int64)
    half = 0.5 * (centres**2).sum(axis=1)
    chunk = max(64, _SCORES // max(1, len(centres)))
    for start in range(0, len(points), chunk):
        part = points[start : start + chunk]
        out[start : start + chunk] = np.argmax(part @ centres.T - half, axis=1)
    return out
