"""Images made of collections, and collections of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import shapely

from rsdata.sandbox.earthengine.collection import Collection
from rsdata.sandbox.earthengine.functions import reducers
from rsdata.sandbox.earthengine.functions.collections import (
    collection_of,
    matching,
    property_of,
    with_properties,
)
from rsdata.sandbox.earthengine.functions.images import image, select, unique
from rsdata.sandbox.earthengine.image import Band, Image, Pixels, Target, as_image, constant, each
from rsdata.sandbox.earthengine.values import Args, Reducer, RequestError


def _images(a: Args) -> Collection:
    found = []
    for k, value in enumerate(a.items("images")):
        one = as_image(value)
        index = one.properties.get("system:index", str(k))
        found.append(with_properties(one, {**one.properties, "system:index": index}))
    return Collection(found)


def _over(name: str, a: Args) -> Image:
    """All images of a collection to one, band by band; `mosaic` takes the last that is not masked."""
    images = [as_image(value) for value in collection_of(a)]
    if not images:
        raise RequestError(f"{a.function}: the collection is empty.")
    first = images[0]
    suffix = "" if name == "mosaic" else f"_{name}"

    def of(band_name: str) -> Band:
        members = [each_image.bands[band_name] for each_image in images if band_name in each_image.bands]
        dtype = members[0].dtype if name in ("mosaic", "min", "max") else "float64"

        def read(target: Target) -> tuple[Pixels, Pixels]:
            if name == "mosaic":
                values, valid = (part.copy() for part in members[0].read(target))
                for member in members[1:]:
                    over, there = member.read(target)
                    values[there], valid = over[there], valid | there
                return values, valid
            layers = [np.where(there, layer, np.nan) for layer, there in (m.read(target) for m in members)]
            reduced = reducers.images(name, np.stack(layers))
            good = ~np.isnan(reduced)
            return np.where(good, reduced, 0).astype(dtype), good

        return Band(read, dtype)

    footprints = [each_image.geometry for each_image in images if each_image.geometry is not None]
    return Image(
        {band_name + suffix: of(band_name) for band_name in first.bands},
        geometry=shapely.unary_union(footprints) if footprints else None,
    )


def _reduce_collection(a: Args) -> Image:
    reducer = a["reducer"]
    if not isinstance(reducer, Reducer):
        raise a.wrong("reducer", "Reducer", reducer)
    return _over(reducer.name, a)


def _to_bands(a: Args) -> Image:
    pairs = [
        (f"{each_image.properties.get('system:index', k)}_{name}", band)
        for k, each_image in enumerate(collection_of(a))
        for name, band in each_image.bands.items()
    ]
    return Image(unique(pairs))


def _link(a: Args) -> Image:
    source = image(a, "input")
    match_on = a.get("matchPropertyName", "system:index")
    value = property_of(source, match_on)
    other = matching(collection_of(a, "imageCollection"), match_on, value)
    names = a.get("linkedBands")
    out = source
    if names is not None:
        names = [names] if isinstance(names, str) else names
        if other is None:
            empty = each(constant(0), lambda v, m, _: (v, np.zeros_like(m)))
            added = Image(dict.fromkeys(names, empty.first))
        else:
            added = select(other, names)
        out = out.with_bands(unique([*out.bands.items(), *added.bands.items()]))
    keys = a.get("linkedProperties")
    if keys is not None and other is not None:
        keys = [keys] if isinstance(keys, str) else keys
        out = with_properties(out, {**out.properties, **{key: property_of(other, key) for key in keys}})
    return out


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "ImageCollection.fromImages": _images,
    "ImageCollection.mosaic": partial(_over, "mosaic"),
    "ImageCollection.reduce": _reduce_collection,
    "ImageCollection.toBands": _to_bands,
    **{f"reduce.{name}": partial(_over, name) for name in ("min", "max", "mean", "median", "sum", "count")},
    "Image.linkCollection": _link,
}
