"""Images in a region and on another grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from rsdata.sandbox.earthengine.functions.images import image, inside
from rsdata.sandbox.earthengine.functions.plain import projection_of
from rsdata.sandbox.earthengine.image import Band, Image, Pixels, Target, box_in, each, from_lonlat, to_lonlat
from rsdata.sandbox.earthengine.values import Args, Projection, RequestError


def clip(source: Image, region: shapely.Geometry) -> Image:
    """Masked outside of a region."""

    def within(values: Pixels, valid: Pixels, target: Target) -> tuple[Pixels, Pixels]:
        return values, valid & inside(region, target)

    return each(source, within, geometry=region)


def _clip_and_scale(a: Args) -> Image:
    source = image(a, "input")
    region = a.geometry("geometry") if a.get("geometry") is not None else source.geometry
    if region is None:
        raise RequestError("Image.clipToBoundsAndScale: an unbounded image needs a geometry.")
    projection = source.projection
    if a.get("scale") is not None:
        target = box_in(projection.scaled(a.number("scale")), region)
    else:
        native = box_in(projection, region)
        wide, tall = native.width, native.height
        if a.get("maxDimension") is not None:
            longest = a.integer("maxDimension")
            width = max(1, round(wide * longest / max(wide, tall)))
            height = max(1, round(tall * longest / max(wide, tall)))
        elif a.get("width") is not None or a.get("height") is not None:
            width = a.integer("width") if a.get("width") else max(1, round(wide * a.integer("height") / tall))
            height = a.integer("height") if a.get("height") else max(1, round(tall * width / wide))
        else:
            width, height = wide, tall
        if width < 1 or height < 1:
            raise RequestError("Image.clipToBoundsAndScale: dimensions must be positive.")
        scale_x, _, x, _, scale_y, y = native.transform
        target = Target(
            native.crs, (scale_x * wide / width, 0.0, x, 0.0, scale_y * tall / height, y), width, height
        )
    return replace(source, target=target)


def _regridded(band: Band, projection: Projection) -> Band:
    """Pixels of a projection's grid first, then the nearest of them."""

    def read(target: Target) -> tuple[Pixels, Pixels]:
        x, y = target.xy()
        if target.crs != projection.crs:
            x, y = from_lonlat(projection.crs, *to_lonlat(target.crs, x, y))
        scale_x, _, left, _, scale_y, top = projection.transform
        columns = np.floor((x - left) / scale_x).astype(np.int64)
        rows = np.floor((y - top) / scale_y).astype(np.int64)
        first, highest = int(columns.min()), int(rows.min())
        width, height = int(columns.max()) - first + 1, int(rows.max()) - highest + 1
        if width * height > 1 << 26:
            raise RequestError("Image.reproject: Reprojection output too large.")
        shifted = (scale_x, 0.0, left + first * scale_x, 0.0, scale_y, top + highest * scale_y)
        values, valid = band.read(Target(projection.crs, shifted, width, height))
        return values[rows - highest, columns - first], valid[rows - highest, columns - first]

    return Band(read, band.dtype, projection)


def _reproject(a: Args) -> Image:
    source = image(a, "image")
    projection = projection_of(a["crs"], a.get("crsTransform"), a.get("scale"))
    return source.with_bands({name: _regridded(band, projection) for name, band in source.bands.items()})


def _default_projection(a: Args) -> Image:
    source = image(a, "image")
    projection = projection_of(a["crs"], a.get("crsTransform"), a.get("scale"))
    return source.with_bands(
        {name: replace(band, projection=projection) for name, band in source.bands.items()}
    )


def _projection(a: Args) -> Projection:
    source = image(a, "image")
    found = {band.projection for band in source.bands.values()}
    if len(found) > 1:
        raise RequestError(
            "Image.projection: The bands of the specified image contains different projections. Use .select() first."
        )
    return source.projection


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "Image.clip": lambda a: clip(image(a, "input"), a.geometry("geometry")),
    "Image.clipToBoundsAndScale": _clip_and_scale,
    "Image.reproject": _reproject,
    "Image.setDefaultProjection": _default_projection,
    "Image.projection": _projection,
}
