"""Geo clusters: the centroids that `rsdata geocluster` saves, and the label of any place by them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shards.config import digest_of
from shards.errors import ConfigError
from shards.machine import cores
from shards.sphere import great_circle_km, lon_lat, nearest, unit_vectors

Space = Literal["sphere", "degrees"]
FORMAT = 1
_CHUNK = 1 << 16  # 10 million points must not become 10 million vectors


@dataclass(frozen=True)
class Clusters:
    """A partition of the globe by nearest centroid."""

    space: Space
    """Where distances are measured: on the unit sphere, or in plain degrees."""
    vectors: NDArray[np.float64]
    """Centroids [K, 3] inside the unit sphere, or [K, 2] degrees lon, lat."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read OUT.json of `rsdata geocluster`.

        Raises:
            ConfigError: no such file, or no centroids in it.
        """
        try:
            facts = json.loads(path.read_bytes())
            space = facts["space"]
            vectors = np.array([row["vector"] for row in facts["clusters"]], np.float64)
            if facts.get("format", FORMAT) != FORMAT:
                raise ValueError(f"format {facts['format']}, expected {FORMAT}")
            if vectors.shape != (facts.get("k", len(vectors)), {"sphere": 3, "degrees": 2}[space]):
                raise ValueError("its centroids are not those of its space")
            if not len(vectors):
                raise ValueError("its list is empty")
            if not np.isfinite(vectors).all():
                raise ValueError("a centroid is not finite")
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); make it with: rsdata geocluster TABLE OUT.csv"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ConfigError(
                f"{path}: holds no centroids ({what}); give the .json that `rsdata geocluster` writes beside its CSV"
            ) from None
        return cls(space, vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def digest(self) -> str:
        """Identity of the partition."""
        return digest_of([self.space, self.vectors.tolist()])

    @property
    def lon_lat(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centroids in degrees."""
        if self.space == "degrees":
            return self.vectors[:, 0], self.vectors[:, 1]
        return lon_lat(self.vectors)

    def assign(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
        """Cluster of each place, 0 … K-1; degrees east and north."""
        east, north = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        out = np.empty(len(east), np.int64)

        def part(start: int) -> None:
            rows = slice(start, start + _CHUNK)
            out[rows] = nearest(points_of(self.space, east[rows], north[rows]), self.vectors)

        with ThreadPoolExecutor(min(8, cores())) as pool:
            list(pool.map(part, range(0, len(east), _CHUNK)))
        return out

    def distance_km(self, lon: ArrayLike, lat: ArrayLike, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Great-circle distance of each place to its centroid."""
        east, north = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
        centres = unit_vectors(*self.lon_lat)
        out = np.empty(len(east))
        for start in range(0, len(east), _CHUNK):
            rows = slice(start, start + _CHUNK)
            out[rows] = great_circle_km(unit_vectors(east[rows], north[rows]), centres[labels[rows]])
        return out


def points_of(space: Space, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places in the space that distances are measured in, [N, 3] or [N, 2]."""
    return unit_vectors(lon, lat) if space == "sphere" else np.stack([lon, lat], axis=1)
