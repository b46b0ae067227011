"""fMoW as it lies on disk: names, folders, metadata JSON and footprints (Christie et al. 2018, release 1.1).

Layout: `<split>/<class>/<class>_<location>/<class>_<location>_<t>_{rgb|msrgb}[_crop_<box>].{jpg|json}`. Locations are
unique within a split only, and `t` has holes. Coordinates are WGS84 and in the order lon lat.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from rsdata.curate.configs import Kind
from shards.errors import UserError

SPLITS = ("train", "val")

NAME = re.compile(
    r"(?P<cls>.+)_(?P<loc>\d+)_(?P<t>\d+)_(?P<kind>rgb|msrgb)(?:_crop_(?P<box>\d+))?\.(?P<ending>jpg|json)\Z"
)
"""A file of a view."""
PLACE = re.compile(r"(?P<cls>.+)_(?P<loc>\d+)\Z")
"""A folder of a place."""


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
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
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


@dataclass(frozen=True, slots=True)
class ViewFile:
    """One image of a place."""

    view: int
    """`t` of the name."""
    box: int | None
    """Number of the crop, where the file is a crop."""
    image: str
    """Path of the image relative to the root, with `/`."""
    metadata: str
    """Path of its metadata JSON relative to the root (or to a second metadata root); it may not exist."""


@dataclass(frozen=True, slots=True)
class Place:
    """One location: a folder and its images, in order of `t`."""

    split: str
    class_name: str
    location: int
    views: tuple[ViewFile, ...]
    strays: tuple[tuple[str, str], ...]
    """Relative path and reason of files that are not what their folder says."""


def splits_of(root: Path) -> list[str]:
    """Which of `train` and `val` the tree has.

    Raises:
        UserError: neither: this is no fMoW tree.
    """
    found = [split for split in SPLITS if (root / split).is_dir()]
    if not found:
        raise UserError(
            f"{root}: is no fMoW tree: it has neither train/ nor val/\n"
            "  Expected <split>/<class>/<class>_<location>/<class>_<location>_<t>_rgb.jpg"
        )
    return found


def classes_of(root: Path) -> list[str]:
    """Class names in alphabetical order over both splits: a label is a position in this list."""
    return sorted({name for split in splits_of(root) for name, _ in _folders(root / split)})


def scan(root: Path, split: str, kind: Kind = "rgb", *, crops: bool = False) -> Iterator[Place]:
    """The places of a split: by class, then by number of the location.

    Args:
        root: the tree.
        split: `train` or `val`.
        kind: pan-sharpened `rgb` or the smaller `msrgb`; files of the other kind are passed over.
        crops: take the `_crop_<box>.jpg` files beside the originals instead of the whole images.
    """
    for class_name, class_path in _folders(root / split):
        places = []
        for name, path in _folders(class_path):
            match = PLACE.match(name)
            number = int(match["loc"]) if match and match["cls"] == class_name else -1
            places.append((number, name, path))
        for number, name, path in sorted(places):
            yield _place(path, f"{split}/{class_name}/{name}", split, class_name, number, kind, crops)


def _place(
    path: str, folder: str, split: str, class_name: str, number: int, kind: Kind, crops: bool
) -> Place:
    views, strays, prefix = [], [], f"{class_name}_{number}_"
    if number < 0:
        strays.append((folder, f"a folder here is named {class_name}_<number>"))
        return Place(split, class_name, number, (), tuple(strays))
    for entry in os.scandir(path):
        name = entry.name
        match = NAME.match(name)
        if match is None or not name.startswith(prefix):
            if not name.startswith(".") and name != "Thumbs.db":
                strays.append((f"{folder}/{name}", f"the name is not {prefix}<t>_rgb.jpg or .json"))
            continue
        box = match["box"]
        if match["kind"] == kind and match["ending"] == "jpg" and (box is not None) == crops:
            stem = f"{folder}/{prefix}{match['t']}_{kind}"
            views.append(
                ViewFile(
                    int(match["t"]), None if box is None else int(box), f"{folder}/{name}", f"{stem}.json"
                )
            )
    views.sort(key=lambda v: (v.view, v.box or 0, v.image))
    return Place(split, class_name, number, tuple(views), tuple(sorted(strays)))


def has_crops(root: Path) -> bool:
    """Whether crops lie beside the originals; the first place that has images tells."""
    for split in splits_of(root):
        for place, whole in zip(scan(root, split, crops=True), scan(root, split), strict=True):
            if place.views or whole.views:
                return bool(place.views)
    return False


def _folders(path: str | Path) -> list[tuple[str, str]]:
    try:
        with os.scandir(path) as entries:
            return sorted((e.name, e.path) for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UserError(f"{path}: cannot be listed ({error.strerror})") from None
