"""Geo-cluster labels of the rows, looked up when training starts: re-clustering needs no re-sharding."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shards.clusters import Clusters
from shards.errors import ConfigError
from shards.index import Index


@dataclass(frozen=True)
class GeoLabels:
    """One cluster a row."""

    labels: NDArray[np.int64]
    count: int
    """Clusters there are, with or without a row here."""
    digest: str
    """Identity of the partition."""


def geo_labels(index: Index, clusters: Path) -> GeoLabels:
    """The nearest saved centroid of each row's place.

    Raises:
        ConfigError: rows without coordinates; no place is ever guessed.
    """
    lon, lat = index.column("lon"), index.column("lat")
    missing = np.flatnonzero(np.isnan(lon) | np.isnan(lat))
    if missing.size:
        raise ConfigError(
            f"{index.store}: {missing.size} of {len(index)} views have no coordinates (first: {index.keys(missing[:1])[0]}); "
            "geo labels need lon and lat on each view"
        )
    found = Clusters.load(clusters)
    return GeoLabels(found.assign(lon, lat), len(found), found.digest())
