"""Points that are given: a table, a plan or a shard set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsdata.places.draw import Floats, wrapped
from shards.errors import ConfigError, UserError

if TYPE_CHECKING:
    import pyarrow as pa

_NAMES = (("lon", "lat"), ("lng", "lat"), ("longitude", "latitude"))
_PLAN = "plan.parquet"


def read_points(path: Path, option: str) -> tuple[Floats, Floats]:
    """Longitudes in [-180, 180) and latitudes of every row, in order; of a plan or a shard set each place once.

    Raises:
        ConfigError: no such file, no coordinates in it, or a row whose coordinates are none.
    """
    from rsdata.curate.tables import coordinates

    try:
        table = _table(path)
        name = next((pair for pair in _NAMES if set(pair) <= set(table.column_names)), _NAMES[0])
        lon, lat = coordinates(table, path, *name)
    except UserError as error:
        raise ConfigError(f"{option}: {error}") from None
    bad = np.flatnonzero(~(np.isfinite(lon) & np.isfinite(lat)) | (np.abs(lon) > 360) | (np.abs(lat) > 90))
    if len(bad):
        row = int(bad[0])
        raise ConfigError(
            f"{option}: {path}: row {row + 1:,} has lon {lon[row]:g}, lat {lat[row]:g}, which is nowhere "
            f"({len(bad):,} rows of {len(lon):,}); give degrees, or take these rows out"
        )
    lon, lat = wrapped(lon), np.asarray(lat, np.float64)
    if "key" in table.column_names:  # a plan, or a row a view: in another order than their keys
        _, first = np.unique(table["key"].to_numpy(), return_index=True)
        lon, lat = lon[first], lat[first]
    return lon, lat


def _table(path: Path) -> pa.Table:
    """A table; of a folder its index, or its plan where it is not finished."""
    from rsdata.curate.tables import read_table

    if path.is_dir() and not (path / "index.parquet").exists() and (path / _PLAN).exists():
        path = path / _PLAN
    return read_table(path)
