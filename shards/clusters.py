"""Geo clusters: the centroids that `rsdata geocluster` saves, and the label of any place by them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal, Self

import numpy as np
import pydantic
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from shards.config import Config, digest_of
from shards.errors import ConfigError
from shards.sphere import nearest, unit_vectors


class Clusters(Config):
    """A partition of the globe by nearest centroid."""

    space: Literal["sphere", "degrees"] = Field("sphere", description="where distances are measured")
    centroids: list[list[float]] = Field(
        description="[K][3] vectors of the sphere, or [K][2] degrees lon, lat"
    )

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        length = 3 if self.space == "sphere" else 2
        if not self.centroids or any(
            len(centre) != length or not all(map(math.isfinite, centre)) for centre in self.centroids
        ):
            raise ValueError(f"expected one or more centroids of {length} finite numbers")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:  # type: ignore[override]
        """Read OUT.json of `rsdata geocluster`.

        Raises:
            ConfigError: no such file, or no centroids in it.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(space=values["space"], centroids=[row["vector"] for row in values["clusters"]])
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be read ({error.strerror}); make it with: rsdata geocluster TABLE OUT.csv"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{path}: holds no centroids; give the .json that `rsdata geocluster` writes beside its CSV"
            ) from None

    def __len__(self) -> int:
        return len(self.centroids)

    def digest(self) -> str:
        """Identity of the partition."""
        return digest_of([self.space, self.centroids])

    def assign(self, lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
        """Cluster of each place, 0 … K-1; degrees east and north."""
        centres = np.asarray(self.centroids, np.float64)
        if self.space == "sphere":
            return nearest(unit_vectors(lon, lat), centres)
        return nearest(np.stack([np.asarray(lon, np.float64), np.asarray(lat, np.float64)], axis=1), centres)
