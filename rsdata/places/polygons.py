"""Places inside any polygons: read, repaired where rings are bad, drawn uniformly by area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.places.draw import Draw, Floats, Ints, settled
from shards.errors import ConfigError
from shards.random import stream, uniform

_PART, _POINT = stream("places/polygon"), stream("places/point")
_POLYGONS = {"Polygon", "MultiPolygon"}


def read(path: Path) -> tuple[list[Any], int]:
    """Disjoint polygons in degrees, as shapely has them, and how many of the file had to be repaired.

    Longitudes may pass 180: what crosses the antimeridian is one polygon there, or two that end at it.

    Raises:
        ConfigError: no such file, no polygons in it, an unknown CRS, or coordinates off the globe.
    """
    import geopandas
    import shapely

    if not path.exists():
        raise ConfigError(f"{path}: there is no such file; give a vector file with polygons")
    try:
        parquet = path.suffix.lower() in (".parquet", ".geoparquet", ".pq")
        table = geopandas.read_parquet(path) if parquet else geopandas.read_file(path)
        shapes = table.geometry
        if shapes.crs is not None and shapes.crs != "EPSG:4326":
            shapes = shapes.to_crs(4326)
    except Exception as error:  # drivers of many kinds behind one call
        raise ConfigError(
            f"{path}: cannot be read as a vector file ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from None
    found = [shape for shape in shapes if shape is not None and not shape.is_empty]
    others = sorted({shape.geom_type for shape in found} - _POLYGONS)
    if others or not found:
        raise ConfigError(
            f"{path}: has {' and '.join(others) if others else 'no geometries'}; only polygons have an inside, give those"
        )
    bad = sum(not shape.is_valid for shape in found)
    parts = _parts(shapely.union_all([shapely.make_valid(shape) for shape in found]))
    if not parts:
        raise ConfigError(f"{path}: its polygons have no area; give polygons that have one")
    west, south, east, north = shapely.total_bounds(np.array(parts, object))
    if not (west >= -360 and east <= 360 and south >= -90 and north <= 90):
        raise ConfigError(
            f"{path}: reaches from lon {west:g}, lat {south:g} to lon {east:g}, lat {north:g}, which are no degrees; "
            "give the file its CRS, or coordinates in degrees"
        )
    return parts, bad


def inside(shapes: list[Any], seed: int) -> Draw:
    """Every square kilometre of disjoint polygons equally often.

    A point is uniform in the box round one of them, which is chosen by the area of its box, and of no use outside of
    the polygon: what is left has the same density everywhere.
    """
    import shapely

    parts = np.array(shapes, object)
    shapely.prepare(parts)
    boxes = shapely.bounds(parts)
    bottom, top = np.sin(np.radians(boxes[:, 1])), np.sin(np.radians(boxes[:, 3]))
    share = np.cumsum((boxes[:, 2] - boxes[:, 0]) * (top - bottom))
    share /= share[-1]

    def draw(place: Ints, attempt: Ints) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        part = np.searchsorted(
            share[:-1], uniform(_PART, seed, place, attempt, count=1)[..., 0], side="right"
        )
        u = uniform(_POINT, seed, place, attempt, count=2)
        lon = boxes[part, 0] + (boxes[part, 2] - boxes[part, 0]) * u[..., 0]
        lat = np.degrees(np.arcsin(bottom[part] + (top[part] - bottom[part]) * u[..., 1]))
        within = shapely.contains_xy(parts[part], lon, lat)
        lon, lat, fits = settled(lon, lat)
        return lon, lat, fits & within

    return draw


def _parts(shape: Any) -> list[Any]:
    """The polygons of any geometry; lines and points that a repair left are dropped."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))
    return [part for part in parts if part.geom_type == "Polygon" and part.area > 0]
