"""Geometries: in degrees, on a sphere; longitudes run on past ±180 rather than jump."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import shapely

from rsdata.sandbox.earthengine.values import EARTH_RADIUS_M, Args, Projection, RequestError


def _points(coordinates: Any) -> list[list[float]]:
    """Flat numbers or pairs -> pairs without jumps of longitude."""
    values = list(coordinates)
    if values and all(isinstance(each, int | float) for each in values):
        values = [values[k : k + 2] for k in range(0, len(values), 2)]
    points = [[float(each[0]), float(each[1])] for each in values]
    for k in range(1, len(points)):
        points[k][0] -= round((points[k][0] - points[k - 1][0]) / 360) * 360
    if any(not math.isfinite(number) for point in points for number in point):
        raise RequestError("GeometryConstructors: coordinates must be finite numbers.")
    return points


def _point(a: Args) -> shapely.Geometry:
    (point,) = _points([_pair(a.items("coordinates"))])
    return shapely.Point(point)


def _pair(values: list[Any]) -> list[Any]:
    if len(values) != 2:
        raise RequestError("GeometryConstructors.Point: expected two coordinates, longitude and latitude.")
    return values


def _rings(coordinates: list[Any]) -> shapely.Geometry:
    if (coordinates and isinstance(coordinates[0], int | float)) or (
        coordinates and isinstance(coordinates[0][0], int | float)
    ):
        coordinates = [coordinates]
    rings = [_points(ring) for ring in coordinates]
    if not rings or len(rings[0]) < 3:
        raise RequestError("GeometryConstructors.Polygon: LinearRing requires at least 3 points.")
    polygon = shapely.Polygon(rings[0], rings[1:])
    return polygon if polygon.is_valid else shapely.make_valid(polygon)


def _polygon(a: Args) -> shapely.Geometry:
    return _rings(a.items("coordinates"))


def _rectangle(a: Args) -> shapely.Geometry:
    points = _points(a.items("coordinates"))
    lon, lat = [point[0] for point in points], [point[1] for point in points]
    return shapely.box(min(lon), min(lat), max(lon), max(lat))


def _bbox(a: Args) -> shapely.Geometry:
    west, east = a.number("west"), a.number("east")
    return shapely.box(west, a.number("south"), east if east >= west else east + 360, a.number("north"))


def _multi_point(a: Args) -> shapely.Geometry:
    return shapely.MultiPoint(_points(a.items("coordinates")))


def _multi_polygon(a: Args) -> shapely.Geometry:
    return shapely.unary_union([_rings(each) for each in a.items("coordinates")])


def _line(a: Args) -> shapely.Geometry:
    return shapely.LineString(_points(a.items("coordinates")))


def _ring(a: Args) -> shapely.Geometry:
    return shapely.LinearRing(_points(a.items("coordinates")))


def _buffer(a: Args) -> shapely.Geometry:
    geometry, distance = a.geometry("geometry"), a.number("distance")
    if isinstance(geometry, shapely.Point) and distance > 0:
        return circle(geometry.x, geometry.y, distance)
    # Other shapes: in a plane whose degrees are as wide as those at the middle.
    lat = (geometry.bounds[1] + geometry.bounds[3]) / 2
    wide = max(math.cos(math.radians(lat)), 1e-3)
    flat = shapely.transform(geometry, lambda xy: xy * [wide, 1])
    grown = flat.buffer(math.degrees(distance / EARTH_RADIUS_M), quad_segs=16)
    return shapely.transform(grown, lambda xy: xy / [wide, 1])


def circle(lon: float, lat: float, radius_m: float) -> shapely.Polygon:
    """All points of a sphere within a distance."""
    turn = np.linspace(0, 2 * np.pi, 129)[:-1]
    phi, angle = math.radians(lat), radius_m / EARTH_RADIUS_M
    north = np.arcsin(math.sin(phi) * math.cos(angle) + math.cos(phi) * math.sin(angle) * np.cos(turn))
    east = np.arctan2(
        np.sin(turn) * math.sin(angle) * math.cos(phi), math.cos(angle) - math.sin(phi) * np.sin(north)
    )
    return shapely.Polygon(np.stack([lon + np.degrees(east), np.degrees(north)], 1))


def _bounds(a: Args) -> shapely.Geometry:
    return shapely.box(*a.geometry("geometry").bounds)


def _area(a: Args) -> float:
    def ring(points: Any) -> float:
        lon, lat = np.radians(points[:, 0]), np.radians(points[:, 1])
        return abs(float(np.sum(np.diff(lon) * (np.sin(lat[1:]) + np.sin(lat[:-1])) / 2))) * EARTH_RADIUS_M**2

    total = 0.0
    for part in shapely.get_parts(a.geometry("geometry")):
        if isinstance(part, shapely.Polygon):
            total += ring(shapely.get_coordinates(part.exterior))
            total -= sum(ring(shapely.get_coordinates(hole)) for hole in part.interiors)
    return total


def beside(geometry: shapely.Geometry, other: shapely.Geometry) -> shapely.Geometry:
    """The geometry turned by whole circles to lie nearest to another."""
    if geometry.is_empty or other.is_empty:
        return geometry
    here, there = (value.bounds[0] + value.bounds[2] for value in (geometry, other))
    turn = round((there - here) / 720) * 360
    return shapely.affinity.translate(geometry, turn) if turn else geometry


def meets(left: shapely.Geometry, right: shapely.Geometry) -> bool:
    """Whether two geometries have a point in common, on whatever side of the antimeridian they are written."""
    return bool(left.intersects(beside(right, left)))


def _pairwise(test: Callable[[Any, Any], Any]) -> Callable[[Args], Any]:
    def function(a: Args) -> Any:
        left = a.geometry("left")
        return test(left, beside(a.geometry("right"), left))

    return function


def distance_m(left: shapely.Geometry, right: shapely.Geometry) -> float:
    """Metres between the nearest points of two geometries."""
    p, q = shapely.get_coordinates(shapely.shortest_line(left, beside(right, left)))
    (lon_p, lat_p), (lon_q, lat_q) = np.radians(p), np.radians(q)
    half = (
        math.sin((lat_q - lat_p) / 2) ** 2
        + math.cos(lat_p) * math.cos(lat_q) * math.sin((lon_q - lon_p) / 2) ** 2
    )
    return float(2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half))))


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "ErrorMargin": lambda a: a.get("value", 0),  # shapes here are exact
    "GeometryConstructors.Point": _point,
    "GeometryConstructors.Polygon": _polygon,
    "GeometryConstructors.Rectangle": _rectangle,
    "GeometryConstructors.BBox": _bbox,
    "GeometryConstructors.MultiPoint": _multi_point,
    "GeometryConstructors.MultiPolygon": _multi_polygon,
    "GeometryConstructors.LineString": _line,
    "GeometryConstructors.LinearRing": _ring,
    "Geometry.buffer": _buffer,
    "Geometry.bounds": _bounds,
    "Geometry.area": _area,
    "Geometry.centroid": lambda a: a.geometry("geometry").centroid,
    "Geometry.convexHull": lambda a: a.geometry("geometry").convex_hull,
    "Geometry.transform": lambda a: a.geometry("geometry"),
    "Geometry.simplify": lambda a: a.geometry("geometry"),
    "Geometry.coordinates": lambda a: shapely.geometry.mapping(a.geometry("geometry"))["coordinates"],
    "Geometry.type": lambda a: a.geometry("geometry").geom_type,
    "Geometry.projection": lambda a: Projection("EPSG:4326"),
    "Geometry.intersects": _pairwise(lambda left, right: bool(left.intersects(right))),
    "Geometry.disjoint": _pairwise(lambda left, right: not left.intersects(right)),
    "Geometry.contains": _pairwise(lambda left, right: bool(left.covers(right))),
    "Geometry.containedIn": _pairwise(lambda left, right: bool(right.covers(left))),
    "Geometry.intersection": _pairwise(lambda left, right: left.intersection(right)),
    "Geometry.union": _pairwise(lambda left, right: left.union(right)),
    "Geometry.distance": _pairwise(distance_m),
}
