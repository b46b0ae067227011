"""The catalogue: which scenes there are, at a point and between two times, as pure functions of the seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np
import shapely

from rsdata.sandbox.scenes.products import DAY_MS, PRODUCTS, Product
from rsdata.sandbox.scenes.tiles import (
    FRAME_DEG,
    Pass,
    Tile,
    frame,
    frames_at,
    passes,
    point_in,
    tile_named,
    tiles_at,
)
from rsdata.sandbox.world.climate import climate
from rsdata.sandbox.world.grid import Grid, Ground
from rsdata.sandbox.world.sky import Moment, cloud_share
from shards.random import address, stream

_FACTS = stream("sandbox scene facts")


@dataclass(frozen=True)
class Scene:
    """One acquisition of one tile (or frame)."""

    sensor: str
    """`s2-l2a`, `s2-l1c`, `s2-clouds`, `s1-grd`, `landsat-8`, `landsat-9`."""
    id: str
    """`system:index`, such as 20200125T080119_20200125T081343_T36QZH."""
    tile: str
    """36QZH, or path and row."""
    epsg: int
    origin_x: float
    """Left edge of the raster, metres, a multiple of 60."""
    origin_y: float
    """Upper edge."""
    width_m: float
    height_m: float
    time: int
    """Of this tile, milliseconds since 1970."""
    sensed: int
    """Of the start of the pass: all tiles of a pass see the same sky."""
    orbit: int
    """Relative orbit, from 1."""
    footprint: tuple[tuple[float, float], ...]
    """Closed ring in degrees; longitudes run on past ±180 rather than jump."""
    seed: int
    outline: shapely.Polygon = field(compare=False, repr=False)
    """The footprint in the scene's CRS; nodata outside."""
    lon: float = 0.0
    """Of the centre of the tile."""
    lat: float = 0.0

    @property
    def crs(self) -> str:
        """`EPSG:32633`."""
        return f"EPSG:{self.epsg}"

    @property
    def product(self) -> Product:
        """What it is a scene of."""
        return PRODUCTS[self.sensor]

    @property
    def cloud_percent(self) -> float:
        """Clouds over the tile as its metadata say it, 0 to 100."""
        share = _cloud_share(self.seed, self.epsg, self.origin_x, self.origin_y, self.width_m, self.sensed)
        return round(100 * min(share**2, 1.0), 6)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names; some radar scenes have no VH."""
        names = tuple(band.name for band in self.product.bands)
        return names[:1] if self.sensor == "s1-grd" and _single(self.orbit, self.sensed) else names

    def transform(self, gsd_m: float) -> tuple[float, float, float, float, float, float]:
        """Affine a, b, c, d, e, f of the native grid of a resolution: x = a column + c, y = e row + f."""
        shift = self._shift
        return (float(gsd_m), 0.0, self.origin_x + shift, 0.0, -float(gsd_m), self.origin_y + shift)

    def shape(self, gsd_m: float) -> tuple[int, int]:
        """Height and width of the native grid of a resolution, pixels."""
        return int(self.height_m // gsd_m), int(self.width_m // gsd_m)

    @property
    def _shift(self) -> float:
        """Landsat's 30 m pixels have their centres at multiples of 30."""
        return 15.0 if self.sensor.startswith("landsat") else 0.0


def scenes_at(sensor: str, lon: float, lat: float, start_ms: int, end_ms: int, seed: int = 0) -> list[Scene]:
    """Every scene whose footprint holds a point with start <= time < end, oldest first."""
    product = PRODUCTS[sensor]
    found: list[Scene] = []
    if product.tiled:
        for tile in tiles_at(lon, lat):
            point = shapely.Point(point_in(tile.epsg, lon, lat))
            for each in passes(sensor, tile):
                if each.outline.covers(point):
                    found += scenes_of(product, tile, each, start_ms, end_ms, seed)
    else:
        for tile, each in frames_at(product.orbit, lon, lat):
            found += scenes_of(product, tile, each, start_ms, end_ms, seed)
    return sorted(found, key=lambda scene: (scene.time, scene.id))


def scenes_over(
    sensor: str, region: shapely.Geometry, start_ms: int, end_ms: int, seed: int = 0
) -> list[Scene]:
    """Every scene whose footprint meets a region, oldest first.

    Args:
        sensor: as in PRODUCTS.
        region: in degrees; longitudes may run on past ±180.
        start_ms: first time, milliseconds since 1970.
        end_ms: end, exclusive.
        seed: of the planet.
    """
    if isinstance(region, shapely.Point):
        return scenes_at(sensor, region.x, region.y, start_ms, end_ms, seed)
    west, south, east, north = region.bounds
    found: dict[str, Scene] = {}
    columns = np.linspace(west, east, int((east - west) / 0.3) + 2)
    rows = np.linspace(south, north, int((north - south) / 0.4) + 2)
    for tile, each in {
        (tile.name, each.track): (tile, each)
        for lon in columns.tolist()
        for lat in rows.tolist()
        for tile, each in _passes_at(PRODUCTS[sensor], lon, lat)
    }.values():
        turn = round(((west + east) / 2 - tile.lon) / 360) * 360
        footprint = shapely.Polygon([(lon + turn, lat) for lon, lat in each.footprint])
        if footprint.intersects(region):
            for scene in scenes_of(PRODUCTS[sensor], tile, each, start_ms, end_ms, seed):
                found[scene.id] = scene
    return sorted(found.values(), key=lambda scene: (scene.time, scene.id))


def scene_by_id(sensor: str, id: str, seed: int = 0) -> Scene | None:
    """The scene with a `system:index`; None where there is none."""
    product = PRODUCTS[sensor]
    try:
        day = _parse_day(sensor, id)
        candidates = list(_passes_named(product, id))
    except (ValueError, IndexError):
        return None
    for tile, each in candidates:
        for scene in scenes_of(product, tile, each, (day - 1) * DAY_MS, (day + 3) * DAY_MS, seed):
            if scene.id == id:
                return scene
    return None


def scenes_of(product: Product, tile: Tile, each: Pass, start_ms: int, end_ms: int, seed: int) -> list[Scene]:
    """The scenes that one track leaves on one tile between two times."""
    orbit = product.orbit
    start_ms = max(start_ms, product.since)
    first, last = start_ms // DAY_MS - 2, min(end_ms // DAY_MS + 2, 80_000)
    first += -(first + orbit.step * each.track + orbit.phase) % orbit.days
    found = []
    for day in range(int(first), int(last) + 1, orbit.days):
        sensed = orbit.start(each.track, day)
        time = sensed + round((84 - tile.lat) / 360 * 6036) * 1000 + (sensed // 1000) % 997
        if start_ms <= time < end_ms:
            found.append(
                Scene(
                    product.kind,
                    _name(product, tile, each.track, sensed, time),
                    tile.name,
                    tile.epsg,
                    tile.left,
                    tile.top,
                    tile.width_m,
                    tile.height_m,
                    time,
                    sensed,
                    each.track + 1,
                    each.footprint,
                    seed,
                    each.outline,
                    tile.lon,
                    tile.lat,
                )
            )
    return found


def _passes_at(product: Product, lon: float, lat: float) -> list[tuple[Tile, Pass]]:
    """All tiles that hold a point with all their passes, whether these hold it or not."""
    lon, lat = (lon + 180) % 360 - 180, min(max(lat, -90.0), 90.0)
    if product.tiled:
        return [(tile, each) for tile in tiles_at(lon, lat) for each in passes(product.kind, tile)]
    return list(frames_at(product.orbit, lon, lat))


def _passes_named(product: Product, id: str) -> list[tuple[Tile, Pass]]:
    if product.tiled:
        tile = tile_named(id.rpartition("_T")[2])
        return [] if tile is None else [(tile, each) for each in passes(product.kind, tile)]
    if product.kind == "s1-grd":
        packed = int(id.split("_")[7], 16)
        found = frame(product.orbit, packed >> 9, (packed & 511) - 256)
    else:
        place = id.split("_")[1]
        found = frame(product.orbit, int(place[:3]) - 1, 80 - int(place[3:]))
    return [] if found is None else [found]


def _parse_day(sensor: str, id: str) -> int:
    part = {"s1-grd": 4, "landsat-8": 2, "landsat-9": 2}.get(sensor, 0)
    date = id.split("_")[part][:8]
    return (datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days


def _name(product: Product, tile: Tile, track: int, sensed: int, time: int) -> str:
    if product.tiled:
        made = sensed + (400 + sensed // 1000 % 900) * 1000
        return f"{_stamp(sensed)}_{_stamp(made)}_T{tile.name}"
    if product.kind == "s1-grd":
        row = round(tile.lat / FRAME_DEG)
        kind = "1SSV" if _single(track + 1, sensed) else "1SDV"
        cycle = (sensed - product.since) // (product.orbit.days * DAY_MS)
        check = int(address(_FACTS, track, row, sensed // 1000)) & 0xFFFF
        satellite = "S1A" if sensed // DAY_MS % 12 < 6 else "S1B"
        return (
            f"{satellite}_IW_GRDH_{kind}_{_stamp(time)}_{_stamp(time + 25_000)}_"
            f"{1 + track + 175 * cycle:06d}_{track << 9 | row + 256:06X}_{check:04X}"
        )
    number = product.kind.rpartition("-")[2]
    return f"LC{int(number):02d}_{tile.name}_{_stamp(time)[:8]}"


def _single(orbit: int, sensed: int) -> bool:
    """Whether a radar pass has one polarisation only: about one in eight."""
    return int(address(_FACTS, 1, orbit, sensed // 1000)) % 8 == 0


def _stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y%m%dT%H%M%S")


@lru_cache(maxsize=50_000)
def _cloud_share(seed: int, epsg: int, left: float, top: float, width_m: float, sensed: int) -> float:
    """Share of sky under clouds' influence at the middle of a tile, 0 to 1; its square is about the cloudy part."""
    ground = Ground.of(Grid(f"EPSG:{epsg}", left + width_m / 2, top - width_m / 2, 60, 1, 1))
    moment = Moment.of(datetime.fromtimestamp(sensed / 1000, UTC))
    return float(cloud_share(ground, climate(ground, seed), seed, moment).mean())
