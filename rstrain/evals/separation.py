"""How far apart places lie: test views with a neighbour that was learnt from, and places that must stay together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.errors import ConfigError
from shards.index import Index
from shards.sphere import EARTH_RADIUS_KM, great_circle_km, unit_vectors

_NEAR_KM = (0.1, 1.0, 10.0)
_CHUNK = 4096


def near(learnt: Index, test: Index) -> dict[str, Any] | None:
    """How many test views have a place that was learnt from within some distances; None where either has no coordinates."""
    from scipy.spatial import cKDTree

    places = [unit_vectors(at[:, 1], at[:, 0]) for at in map(_coordinates, (learnt, test))]
    known, asked = (points[np.isfinite(points).all(axis=1)] for points in places)
    if not len(known) or not len(asked):
        return None
    known = np.unique(known, axis=0)
    _, at = cKDTree(known).query(asked)
    km = great_circle_km(known[at], asked)
    counts = {f"within_{limit:g}_km": int((km <= limit).sum()) for limit in _NEAR_KM}
    return counts | {"nearest_km": round(float(km.min()), 4), "median_km": round(float(np.median(km)), 4)}


def neighbourhoods(index: Index, first: NDArray[np.int64], km: float) -> NDArray[np.int64]:
    """A number for each place, the same for two that a chain of places with steps up to `km` kilometres joins.

    Args:
        index: where coordinates are.
        first: a row of each place.
        km: longest step.

    Raises:
        ConfigError: a place without coordinates.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    at = _coordinates(index)[first]
    unknown = np.flatnonzero(~np.isfinite(at).all(axis=1))
    if len(unknown):
        raise ConfigError(
            f"{index.store}: {len(unknown):,} of {len(first):,} places have no coordinates (the first is "
            f"{index.keys(first[unknown[:1]])[0]}), which --apart-km needs: leave it out"
        )
    points = unit_vectors(at[:, 1], at[:, 0])
    tree, chord = cKDTree(points), 2 * np.sin(km / EARTH_RADIUS_KM / 2)
    number = np.arange(len(points))
    for start in range(0, len(points), _CHUNK):
        lists = tree.query_ball_point(points[start : start + _CHUNK], chord)
        own = np.repeat(np.arange(start, start + len(lists)), [len(found) for found in lists])
        ends = (number[own], number[np.concatenate(lists).astype(np.int64)])
        graph = coo_array((np.ones(len(own), bool), ends), shape=(len(points), len(points)))
        number = connected_components(graph, directed=False)[1][number]
    return np.asarray(np.unique(number, return_inverse=True)[1], np.int64)


def _coordinates(index: Index) -> NDArray[np.float64]:
    """Latitude and longitude of each row, degrees, NaN where not known, [N, 2]."""
    return np.stack([index.column("lat"), index.column("lon")], axis=1).astype(np.float64)
