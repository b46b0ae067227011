"""Pixels of an image as numbers: arrays of a rectangle, statistics of a region."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rsdata.sandbox.earthengine.functions import reducers
from rsdata.sandbox.earthengine.functions.images import image, inside
from rsdata.sandbox.earthengine.functions.plain import projection_of
from rsdata.sandbox.earthengine.image import box_in
from rsdata.sandbox.earthengine.values import Args, Feature, Projection, Reducer, RequestError

SAMPLE_LIMIT = 262_144


def _sample_rectangle(a: Args) -> Feature:
    source = image(a, "image")
    region = a.geometry("region") if a.get("region") is not None else source.geometry
    if region is None:
        raise RequestError("Image.sampleRectangle: an unbounded image needs a region.")
    default = a.get("defaultValue")
    names = a.get("properties")
    kept = {
        name: value
        for name, value in source.properties.items()
        if (name in names if names is not None else not name.startswith("system:"))
    }
    groups: dict[Projection, list[str]] = {}
    for name, band in source.bands.items():
        groups.setdefault(band.projection or source.projection, []).append(name)
    found: dict[str, Any] = {}
    for projection, members in groups.items():
        target = box_in(projection, region)
        if target.width * target.height > SAMPLE_LIMIT:
            raise RequestError(
                f"Image.sampleRectangle: Too many pixels in the region. Found {target.width * target.height}, but only "
                f"{SAMPLE_LIMIT} allowed."
            )
        for name, values, valid in zip(members, *source.read(target, members), strict=True):
            if not valid.all():
                if default is None:
                    raise RequestError(
                        f"Image.sampleRectangle: Partially masked pixels encountered in band '{name}' and no default "
                        "value set. Specify 'defaultValue' to sample masked pixels."
                    )
                values = np.where(valid, values, default)
            found[name] = values.tolist()
    return Feature(region, {**kept, **{name: found[name] for name in source.bands}}, None)


def _reduce_region(a: Args) -> dict[str, Any]:
    source, reducer = image(a, "image"), a["reducer"]
    if not isinstance(reducer, Reducer):
        raise a.wrong("reducer", "Reducer", reducer)
    region = a.geometry("geometry") if a.get("geometry") is not None else source.geometry
    if region is None:
        raise RequestError("Image.reduceRegion: an unbounded image needs a geometry.")
    projection = projection_of(a.get("crs", source.projection), a.get("crsTransform"), a.get("scale"))
    target = box_in(projection, region)
    most = a.number("maxPixels", 10_000_000)
    if target.width * target.height > most:
        raise RequestError(
            f"Image.reduceRegion: Too many pixels in the region. Found {target.width * target.height}, but maxPixels "
            f"allows only {most:.0f}."
        )
    within = inside(region, target)
    out: dict[str, Any] = {}
    for name, values, valid in zip(source.bands, *source.read(target), strict=True):
        for suffix, value in reducers.region(reducer, values, valid & within).items():
            out[f"{name}_{suffix}" if suffix else name] = value
    return out


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "Image.sampleRectangle": _sample_rectangle,
    "Image.reduceRegion": _reduce_region,
}
