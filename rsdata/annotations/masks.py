"""Masks from files of values or colours, and from polygons, painted where the centre of a pixel lies in them."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import MAX_PIXELS, ImageError, header, open_image
from shards.targets import IGNORE, Box

Mask = NDArray[np.uint8]


def mask_values(data: bytes, *, colours: bool) -> NDArray[Any]:
    """The values [H, W] of a mask file: indices of a palette, grey levels, or 24-bit colours.

    Raises:
        ValueError: not an image, a broken one, floats, or colours where numbers are expected.
    """
    try:
        facts = header(data, MAX_PIXELS)
    except ImageError as error:
        raise ValueError(f"the mask: {error}") from None
    try:
        with open_image(data) as image:
            if colours:
                red, green, blue = np.moveaxis(np.asarray(image.convert("RGB")), -1, 0).astype(np.int32)
                return np.asarray(red << 16 | green << 8 | blue)
            pixels: NDArray[Any] = np.asarray(image)
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged bytes
        raise ValueError(f"broken {facts.format} ({error or type(error).__name__})") from None
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4) and (pixels[..., :1] == pixels[..., :3]).all():
        pixels = pixels[..., 0]
    if pixels.ndim != 2 or pixels.dtype.kind not in "iu":
        raise ValueError(
            f"a mask of {pixels.dtype} pixels of shape {list(pixels.shape)}; expected one band of whole numbers, or name "
            "its colours: --values '#ff0000:1,*:0'"
        )
    return pixels


def scaled(values: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """A mask on another grid over the same ground, by nearest neighbour."""
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(np.int64)
    return np.ascontiguousarray(values[rows[:, None], columns])


def from_boxes(boxes: Sequence[Box], window: tuple[int, int, int, int]) -> Mask:
    """Outlines painted over background 0, later ones on top: class n of the boxes is n + 1, crowds are ignored.

    Args:
        boxes: with their outlines; a box without one is painted as the rectangle it is.
        window: left, top, right, bottom of the mask in the pixels of the boxes.
    """
    shapes = []
    for box in boxes:
        corners = ((box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom))
        value = IGNORE if box.crowd else box.label + 1
        for ring in box.rings or (corners,):
            shapes.append(({"type": "Polygon", "coordinates": [[*ring, ring[0]]]}, value))
    left, top, right, bottom = window
    from rasterio.transform import Affine

    return _paint(shapes, (right - left, bottom - top), Affine(1.0, 0.0, left, 0.0, 1.0, top))


def from_geojson(
    data: bytes,
    *,
    crs: Any,
    transform: Any,
    window: tuple[int, int, int, int],
    names: Sequence[str],
    class_property: str | None,
) -> tuple[Mask, Counter[str]]:
    """Polygons of a GeoJSON painted over background 0, and what was left out, counted.

    Coordinates are longitude and latitude unless the file names a system (`crs`, GeoJSON of 2008).

    Args:
        data: the file.
        crs: of the image.
        transform: from columns and rows of the image to its system.
        window: left, top, right, bottom of the mask in the image.
        names: classes; the first is the background.
        class_property: which property holds the name of a class; None: every polygon is of the second.

    Raises:
        ValueError: not a GeoJSON, or one whose polygons cannot be placed.
    """
    from rasterio.errors import RasterioError
    from rasterio.warp import transform_geom
    from rasterio.windows import Window
    from rasterio.windows import transform as window_transform

    try:
        file = json.loads(data)
        features = file["features"]
        named = (file.get("crs") or {}).get("properties", {}).get("name", "OGC:CRS84")
        notes: Counter[str] = Counter()
        shapes = []
        for feature in features:
            geometry = feature.get("geometry") or {}
            if geometry.get("type") not in ("Polygon", "MultiPolygon") or not geometry.get("coordinates"):
                notes["features left out: no polygon"] += 1
                continue
            label = 1 if class_property is None else _label(feature, class_property, names)
            if label is None:
                notes[f"features left out: {class_property} is no known class"] += 1
                continue
            shapes.append((transform_geom(named, crs, geometry), label))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, RasterioError) as error:
        raise ValueError(f"is no GeoJSON of polygons that can be placed ({error})") from None
    left, top, right, bottom = window
    moved = window_transform(Window(left, top, right - left, bottom - top), transform)
    return _paint(shapes, (right - left, bottom - top), moved), notes


def _label(feature: dict[str, Any], class_property: str, names: Sequence[str]) -> int | None:
    value = str((feature.get("properties") or {}).get(class_property))
    return names.index(value) if value in names else None


def _paint(shapes: list[tuple[Any, int]], size: tuple[int, int], transform: Any) -> Mask:
    """Polygons with their values on a grid of width and height."""
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.features import rasterize

    if not shapes:
        return np.zeros(size[::-1], np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        painted = rasterize(shapes, out_shape=size[::-1], transform=transform, fill=0, dtype="uint8")
    return np.asarray(painted, np.uint8)
