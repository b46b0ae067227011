"""What the metadata JSON of an fMoW image says (Christie et al. 2018, release 1.1); coordinates are WGS84, lon lat."""

from __future__ import annotations

import math
from datetime import datetime
from typing import NamedTuple

import msgspec


class Box(msgspec.Struct, frozen=True):
    """One entry of `bounding_boxes`; keys that are not listed are skipped by the parser."""

    box: list[float] | None = None
    """Left, top, width, height in pixels."""
    raw_location: str | None = None
    """WKT of the box."""


class Metadata(msgspec.Struct, frozen=True):
    """The fields of a metadata file that a list or a shard keeps; each may be missing."""

    gsd: float | None = None
    """Ground sample distance, metres."""
    img_width: int | None = None
    img_height: int | None = None
    timestamp: str | None = None
    """ISO 8601, UTC."""
    country_code: str | None = None
    """ISO alpha-3; invalid for some images as released."""
    utm: str | None = None
    """UTM zone and band, `32T`."""
    cloud_cover: float | None = None
    """Percent."""
    raw_location: str | None = None
    """WKT footprint of the whole image."""
    bounding_boxes: list[Box] | Box | None = None

    @property
    def boxes(self) -> list[Box]:
        """The boxes; a bare object, as some files have it, counts as a list of one."""
        if isinstance(self.bounding_boxes, Box):
            return [self.bounding_boxes]
        return self.bounding_boxes or []

    def lon_lat(self) -> tuple[float, float]:
        """Centroid of the first box, else of the whole footprint, degrees.

        Raises:
            ValueError: neither is there, or the one that is there is malformed or off the globe.
        """
        boxes = self.boxes
        wkt = (boxes[0].raw_location if boxes else None) or self.raw_location
        if not wkt:
            raise ValueError(
                "no coordinates: neither bounding_boxes[0] nor the image has a raw_location (--metadata-root)"
            )
        return centroid(wkt)


_decoder = msgspec.json.Decoder(Metadata)


def parse(data: bytes) -> Metadata:
    """A metadata file.

    Raises:
        ValueError: not JSON, a field of another type, or a timestamp that is none.
    """
    try:
        meta = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"malformed metadata: {error}" if data else "the metadata file is empty") from None
    if meta.timestamp is not None:
        try:
            datetime.fromisoformat(meta.timestamp)
        except ValueError:
            raise ValueError(f"malformed timestamp {meta.timestamp!r}") from None
    return meta


def centroid(wkt: str) -> tuple[float, float]:
    """Area centroid (lon, lat) of a WKT geometry, degrees; rings may cross the antimeridian.

    Raises:
        ValueError: malformed, empty, not finite, or outside ±180 and ±90 degrees.
    """
    found = None
    if wkt.startswith("POLYGON ((") and wkt.endswith("))"):
        found = _ring_centroid(wkt[10:-2])
    lon, lat = found or _shapely_centroid(wkt)
    if not (-180 <= lon <= 180 and -90 <= lat <= 90):
        raise ValueError(f"coordinates off the globe: lon {lon:g}, lat {lat:g} in {wkt[:60]!r}")
    return lon, lat


def _ring_centroid(ring: str) -> tuple[float, float] | None:
    """Shoelace formula on `x y, x y, …`, relative to the first point (areas are 1e-8 square degrees)."""
    try:
        values = [*map(float, ring.replace(",", " ").split())]
    except ValueError:
        return None
    if len(values) != 2 * ring.count(",") + 2 or len(values) < 8 or values[:2] != values[-2:]:
        return None
    xs, ys = values[::2], values[1::2]
    crosses = max(xs) - min(xs) > 180
    if crosses:
        xs = [x + 360 if x < 0 else x for x in xs]
    x0, y0 = xs[0], ys[0]
    area = sum_x = sum_y = x1 = y1 = 0.0
    for x, y in zip(xs, ys, strict=True):
        x2, y2 = x - x0, y - y0
        cross = x1 * y2 - x2 * y1
        area += cross
        sum_x += (x1 + x2) * cross
        sum_y += (y1 + y2) * cross
        x1, y1 = x2, y2
    if not area or not math.isfinite(area):
        return None
    lon = x0 + sum_x / (3 * area)
    return lon - 360 if crosses and lon > 180 else lon, y0 + sum_y / (3 * area)


def _shapely_centroid(wkt: str) -> tuple[float, float]:
    """Everything unusual: holes, multipolygons, points, footprints without area."""
    import shapely

    try:
        point = shapely.from_wkt(wkt).centroid
    except (shapely.GEOSException, TypeError) as error:
        raise ValueError(f"malformed WKT {wkt[:60]!r} ({str(error).splitlines()[0]})") from None
    if point.is_empty or not (math.isfinite(point.x) and math.isfinite(point.y)):
        raise ValueError(f"WKT without a finite centroid: {wkt[:60]!r}")
    return point.x, point.y


class Facts(NamedTuple):
    """What is kept of one image's metadata, or why they are of no use."""

    error: str | None = None
    lon: float | None = None
    lat: float | None = None
    time: str | None = None
    """ISO 8601, UTC."""
    gsd_m: float | None = None
    country: str | None = None
    utm: str | None = None
    cloud_cover: float | None = None
    """Percent."""
    box: list[float] | None = None
    """Left, top, width, height of the first box, pixels."""

    @classmethod
    def of(cls, data: bytes) -> Facts:
        """Those of a metadata file."""
        try:
            meta = parse(data)
            lon, lat = meta.lon_lat()
        except ValueError as error:
            return cls(error=str(error))
        box = meta.boxes[0].box if meta.boxes else None
        return cls(
            None, lon, lat, meta.timestamp, meta.gsd, meta.country_code, meta.utm, meta.cloud_cover, box
        )
