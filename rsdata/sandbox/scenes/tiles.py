"""Where scenes may lie: tiles of the MGRS in their UTM zone, and frames along a track."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely

from rsdata.land import is_land
from rsdata.sandbox.scenes.products import PRODUCTS, Orbit
from rsdata.sandbox.world.cities import cities
from rsdata.sandbox.world.grid import Grid

SQUARE_M = 100_000
TILE_M = 109_800
LIMIT_LAT = 84.0
FRAME_DEG = 1.5
"""Of latitude, from one frame to the next; frames overlap by a tenth."""
_ISLANDS = ((-45.6, -60.6), (-58.9, -62.2), (-36.7, -54.3))
"""Lon, lat of land in the far south that is too small for the coastline file."""
_BANDS = "CDEFGHJKLMNPQRSTUVWX"
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
KM_PER_DEG = 111.195


@dataclass(frozen=True)
class Tile:
    """The raster that one pass fills, wholly or in part."""

    name: str
    epsg: int
    left: float
    top: float
    width_m: float
    height_m: float
    lon: float
    """Of the centre."""
    lat: float

    @property
    def grid(self) -> Grid:
        """One pixel a tile."""
        return Grid(f"EPSG:{self.epsg}", self.left, self.top, 1.0, int(self.width_m), int(self.height_m))


@dataclass(frozen=True)
class Pass:
    """What one track fills of a tile."""

    track: int
    outline: shapely.Polygon
    """In the tile's CRS; nodata outside."""
    footprint: tuple[tuple[float, float], ...]
    """The same as a closed ring in degrees; longitudes run on past ±180 rather than jump."""


def tiles_at(lon: float, lat: float) -> Iterator[Tile]:
    """The tiles that hold a point, up to four in each zone that reaches it."""
    if abs(lat) > LIMIT_LAT:
        return
    home = int((lon + 180) % 360 // 6)
    reach = (SQUARE_M + TILE_M) / 1000 / KM_PER_DEG / np.cos(np.radians(lat))
    west = (lon + 180) % 6
    zones = [home, *([home - 1] if west < reach else []), *([home + 1] if 6 - west < reach else [])]
    for zone in zones:
        for north in (True, False) if -0.1 < lat < 0 else (lat >= 0,):
            yield from _in_zone(lon, lat, zone % 60 + 1, north)


def _in_zone(lon: float, lat: float, zone: int, north: bool) -> Iterator[Tile]:
    x, y = point_in((32600 if north else 32700) + zone, lon, lat)
    column, row = int(x // SQUARE_M), int(y // SQUARE_M)
    for i in (column - 1, column):
        for j in (row, row + 1):
            tile = square(zone, north, i, j)
            if tile and 0 <= x - tile.left < tile.width_m and 0 <= tile.top - y < tile.height_m:
                yield tile


@lru_cache(maxsize=20_000)
def square(zone: int, north: bool, i: int, j: int) -> Tile | None:
    """The tile of a 100 km square; None where the square is outside the zone, or open sea."""
    if not 1 <= i <= 8 or (north and j < 0) or (not north and j > 99):
        return None
    epsg = (32600 if north else 32700) + zone
    left, top = i * SQUARE_M // 60 * 60, -(-(j + 1) * SQUARE_M // 60) * 60
    corners = Grid(f"EPSG:{epsg}", i * SQUARE_M, (j + 1) * SQUARE_M, SQUARE_M / 4, 4, 4)
    lon, lat = corners.lonlat(*np.meshgrid(np.arange(5.0), np.arange(5.0)))
    from_centre = (lon - (zone * 6 - 183) + 180) % 360 - 180
    if from_centre.min() > 3 or from_centre.max() < -3 or abs(lat[2, 2]) > LIMIT_LAT:
        return None
    name = (
        f"{zone:02d}{_BANDS[int(np.clip((lat[2, 2] + 80) // 8, 0, 19))]}"
        f"{_COLUMNS[zone % 3][i - 1]}{_ROWS[(j + (5 if zone % 2 == 0 else 0)) % 20]}"
    )
    tile = Tile(name, epsg, left, top, TILE_M, TILE_M, float(lon[2, 2]), float(lat[2, 2]))
    return tile if _near_land(tile) else None


@lru_cache(maxsize=4096)
def tile_named(name: str) -> Tile | None:
    """By name, `32TQM` or `036QZH`'s like; None where there is none."""
    try:
        zone, band, column, row = int(name[:-3]), _BANDS.index(name[-3]), name[-2], _ROWS.index(name[-1])
        i = _COLUMNS[zone % 3].index(column) + 1
    except ValueError:
        return None
    if not 1 <= zone <= 60:
        return None
    north = band >= 10
    first = (row - (5 if zone % 2 == 0 else 0)) % 20
    for j in range(first, 100, 20):
        tile = square(zone, north, i, j)
        if tile is not None and tile.name == name:
            return tile
    return None


def frames_at(orbit: Orbit, lon: float, lat: float) -> Iterator[tuple[Tile, Pass]]:
    """The frames that hold a point."""
    if abs(lat) > LIMIT_LAT:
        return
    for row in (round(lat / FRAME_DEG) + step for step in (-1, 0, 1)):
        if abs(row * FRAME_DEG - lat) > 0.62 * FRAME_DEG:
            continue
        for track in tracks_near(orbit, lon, lat, 1.0):
            found = frame(orbit, track, row)
            if found and found[1].outline.covers(shapely.Point(point_in(found[0].epsg, lon, lat))):
                yield found


@lru_cache(maxsize=20_000)
def frame(orbit: Orbit, track: int, row: int) -> tuple[Tile, Pass] | None:
    """The frame of a track round latitude `row * FRAME_DEG`; None at open sea."""
    lat = row * FRAME_DEG
    if abs(lat) > LIMIT_LAT or not 0 <= track < orbit.tracks:
        return None
    lon = (orbit.centre(track, lat) + 180) % 360 - 180
    epsg = (32600 if lat >= 0 else 32700) + int((lon + 180) // 6) + 1
    outline = _strip(orbit, track, epsg, lat - 0.55 * FRAME_DEG, lat + 0.55 * FRAME_DEG)
    west, south, east, north = outline.bounds
    left, top = west // 60 * 60, -(-north // 60) * 60
    width, height = -(-(east - left) // 60) * 60, -(-(top - south) // 60) * 60
    tile = Tile(f"{track + 1:03d}{80 - row:03d}", epsg, left, top, width, height, lon, lat)
    if not _near_land(tile):
        return None
    return tile, Pass(track, outline, _ring(outline, epsg, lon))


@lru_cache(maxsize=20_000)
def passes(kind: str, tile: Tile) -> tuple[Pass, ...]:
    """The tracks that fill at least a hundredth of a tile of the MGRS."""
    orbit = PRODUCTS[kind].orbit
    whole = shapely.box(tile.left, tile.top - tile.height_m, tile.left + tile.width_m, tile.top)
    _, lats = tile.grid.lonlat(
        np.array([0, tile.width_m / 2, tile.width_m] * 2), np.repeat([0, tile.height_m], 3)
    )
    low, high = float(lats.min()) - 0.1, float(lats.max()) + 0.1
    found = []
    for track in tracks_near(orbit, tile.lon, tile.lat, 80.0):
        outline = _strip(orbit, track, tile.epsg, low, high).intersection(whole)
        if outline.geom_type == "Polygon" and outline.area > 0.01 * whole.area:
            found.append(Pass(track, outline, _ring(outline, tile.epsg, tile.lon)))
    return tuple(found)


def tracks_near(orbit: Orbit, lon: float, lat: float, reach_km: float) -> Iterator[int]:
    """Tracks whose strip may come within some distance of a point."""
    half = _half_deg(orbit, lat) + reach_km / KM_PER_DEG / np.cos(np.radians(lat))
    first = (lon - half - orbit.centre(0, lat)) * orbit.tracks / 360
    last = (lon + half - orbit.centre(0, lat)) * orbit.tracks / 360
    for track in range(int(np.ceil(first - 0.3)), int(np.floor(last + 0.3)) + 1):
        yield track % orbit.tracks


def point_in(epsg: int, lon: float, lat: float) -> tuple[float, float]:
    """Easting and northing, metres."""
    x, negative_y = Grid(f"EPSG:{epsg}", 0, 0, 1, 1, 1).pixel(lon, lat)
    return float(x), -float(negative_y)


def _half_deg(orbit: Orbit, lat: float) -> float:
    return float(orbit.swath_km / 2 / KM_PER_DEG / max(np.cos(np.radians(lat)), 0.05))


def _strip(orbit: Orbit, track: int, epsg: int, low: float, high: float) -> shapely.Polygon:
    """The strip of a track between two latitudes, in a UTM zone."""
    lats = np.linspace(low, min(high, 88.0), 7)
    centre = np.array([orbit.centre(track, float(lat)) for lat in lats])
    half = np.array([_half_deg(orbit, float(lat)) for lat in lats])
    lon = np.concatenate([centre - half, (centre + half)[::-1]])
    x, negative_y = Grid(f"EPSG:{epsg}", 0, 0, 1, 1, 1).pixel(lon, np.concatenate([lats, lats[::-1]]))
    return shapely.Polygon(np.stack([x, -negative_y], 1)).buffer(0)


def _ring(outline: shapely.Polygon, epsg: int, near: float) -> tuple[tuple[float, float], ...]:
    points = shapely.get_coordinates(shapely.segmentize(outline.exterior, 20_000))
    lon, lat = Grid(f"EPSG:{epsg}", 0, 0, 1, 1, 1).lonlat(points[:, 0], -points[:, 1])
    lon = near + (lon - near + 180) % 360 - 180
    return tuple(zip(np.round(lon, 7).tolist(), np.round(lat, 7).tolist(), strict=True))


def _near_land(tile: Tile) -> bool:
    """Whether land or a city lies in the tile or within about 10 km of it."""
    margin = 10_000
    x = np.linspace(-margin, tile.width_m + margin, 14)
    y = np.linspace(-margin, tile.height_m + margin, 14)
    lon, lat = tile.grid.lonlat(*np.meshgrid(x, y))
    if is_land(lon, lat).any():
        return True
    known = cities()
    lons, lats = (
        np.append(values, [island[k] for island in _ISLANDS])
        for k, values in enumerate((known.lon, known.lat))
    )
    near = (lat.min() < lats) & (lats < lat.max())
    east = np.abs((lons - tile.lon + 180) % 360 - 180)
    return bool((near & (east < np.abs((lon - tile.lon + 180) % 360 - 180).max())).any())
