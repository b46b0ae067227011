"""Images: their bands, masks and values."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import shapely

from rsdata.sandbox.earthengine.functions.arithmetic import cast
from rsdata.sandbox.earthengine.functions.collections import property_of
from rsdata.sandbox.earthengine.functions.geometry import beside
from rsdata.sandbox.earthengine.image import (
    Band,
    Image,
    Pixels,
    Target,
    as_image,
    combine,
    constant,
    each,
    precision,
)
from rsdata.sandbox.earthengine.values import Args, Date, PixelType, RequestError


def image(a: Args, name: str) -> Image:
    """An image argument."""
    return as_image(a[name])


def select(source: Image, selectors: list[Any], names: list[str] | None = None) -> Image:
    """Bands by name, pattern or position, in the order given.

    Raises:
        RequestError: there is no such band.
    """
    chosen: list[tuple[str, Band]] = []
    have = list(source.bands)
    for selector in selectors:
        if isinstance(selector, int) and -len(have) <= selector < len(have):
            found = [have[selector]]
        else:
            found = [name for name in have if re.fullmatch(str(selector), name)]
        if not found:
            raise RequestError(
                f"Image.select: Band pattern '{selector}' did not match any bands. Available bands: "
                f"[{', '.join(have)}]"
            )
        chosen += [(name, source.bands[name]) for name in found]
    if names is not None:
        if len(names) != len(chosen):
            raise RequestError(f"Image.select: {len(chosen)} bands and {len(names)} new names.")
        chosen = [(name, band) for name, (_, band) in zip(names, chosen, strict=True)]
    return source.with_bands(unique(chosen))


def unique(pairs: list[tuple[str, Band]]) -> dict[str, Band]:
    """Bands by name; a name that comes again gets a number."""
    out: dict[str, Band] = {}
    for name, band in pairs:
        free, k = name, 1
        while free in out:
            free, k = f"{name}_{k}", k + 1
        out[free] = band
    return out


def _add_bands(a: Args) -> Image:
    into, other = image(a, "dstImg"), image(a, "srcImg")
    if a.get("names"):
        other = select(other, a["names"])
    if a.get("overwrite"):
        return into.with_bands({**into.bands, **other.bands})
    return into.with_bands(unique([*into.bands.items(), *other.bands.items()]))


def _cat(a: Args) -> Image:
    images = [as_image(value) for value in a.items("images")]
    if not images:
        return Image({})
    return images[0].with_bands(unique([pair for each_image in images for pair in each_image.bands.items()]))


def _update_mask(a: Args) -> Image:
    source, mask = image(a, "image"), image(a, "mask")
    if len(mask.bands) not in (1, len(source.bands)):
        raise RequestError("Image.updateMask: the mask must have one band, or as many as the image.")
    masks = list(mask.bands.values()) * (len(source.bands) if len(mask.bands) == 1 else 1)

    def of(band: Band, by: Band) -> Band:
        def read(target: Target) -> tuple[Pixels, Pixels]:
            values, valid = band.read(target)
            amount, known = by.read(target)
            good = valid & known & (amount != 0)
            return np.where(good, values, np.zeros((), values.dtype)), good

        return replace(band, read=read, source=None)

    pairs = zip(source.bands.items(), masks, strict=True)
    return source.with_bands({name: of(band, by) for (name, band), by in pairs})


def _mask(a: Args) -> Image:
    if a.get("mask") is not None:
        return _update_mask(Args("Image.mask", {"image": a["image"], "mask": a["mask"]}))
    return each(
        image(a, "image"),
        lambda values, valid, _: (valid.astype(np.uint8), np.ones_like(valid)),
        lambda _: "uint8",
    )


def _unmask(a: Args) -> Image:
    source, value = image(a, "input"), as_image(a.get("value", 0))
    footprint = source.geometry if a.get("sameFootprint", True) else None
    fills = list(value.bands.values())
    if len(fills) not in (1, len(source.bands)):
        raise RequestError("Image.unmask: the value must have one band, or as many as the image.")
    fills = fills * (len(source.bands) if len(fills) == 1 else 1)

    def of(band: Band, fill: Band) -> Band:
        dtype = str(np.result_type(band.dtype, fill.dtype))

        def read(target: Target) -> tuple[Pixels, Pixels]:
            values, valid = band.read(target)
            if valid.all():
                return values.astype(dtype), valid
            other, known = fill.read(target)
            if footprint is not None:
                known = known & inside(footprint, target)
            return np.where(valid, values, np.where(known, other, 0)).astype(dtype), valid | known

        return replace(band, read=read, dtype=dtype, source=None)

    pairs = zip(source.bands.items(), fills, strict=True)
    return source.with_bands({name: of(band, fill) for (name, band), fill in pairs})


def inside(region: shapely.Geometry, target: Target) -> Pixels:
    """Whether each pixel's centre lies in a region, [H, W]."""
    lon, lat = target.lonlat()
    middle = shapely.Point(float(np.median(lon)), float(np.median(lat)))
    return np.asarray(shapely.contains_xy(beside(region, middle), lon, lat))


def _where(a: Args) -> Image:
    source, test, value = image(a, "input"), image(a, "test"), image(a, "value")

    def of(band: Band) -> Band:
        dtype = str(np.result_type(band.dtype, value.first.dtype))

        def read(target: Target) -> tuple[Pixels, Pixels]:
            values, valid = band.read(target)
            chosen, known = test.first.read(target)
            other, there = value.first.read(target)
            return np.where((chosen != 0) & known & there, other, values).astype(dtype), valid

        return replace(band, read=read, dtype=dtype, source=None)

    return source.with_bands({name: of(band) for name, band in source.bands.items()})


def _normalized_difference(a: Args) -> Image:
    source = image(a, "input")
    names = a.get("bandNames") or list(source.bands)[:2]
    one, two = (select(source, [name]) for name in names)

    def ratio(p: Pixels, q: Pixels) -> Pixels:
        p, q = p.astype(np.float64), q.astype(np.float64)
        return np.asarray((p - q) / (p + q))

    made = combine(one, two, ratio, lambda x, y: "float32")
    return made.with_bands({"nd": made.first})


def _unit_scale(a: Args) -> Image:
    low, high = a.number("low"), a.number("high")
    return each(
        image(a, "input"),
        lambda values, valid, _: ((values.astype(np.float64) - low) / (high - low), valid),
        lambda _: "float64",
    )


def _cast_bands(a: Args) -> Image:
    source, types = image(a, "image"), a.record("bandTypes")
    out = {}
    for name, band in source.bands.items():
        kind = types.get(name)
        dtype = _dtype(kind) if kind is not None else band.dtype
        out[name] = _cast_band(band, dtype)
    return source.with_bands(out)


def _cast_band(band: Band, dtype: str) -> Band:
    return each(
        Image({"": band}), lambda values, valid, _: (cast(values, dtype), valid), lambda _: dtype
    ).first


def _dtype(kind: Any) -> str:
    if isinstance(kind, PixelType):
        return {"float": "float32", "double": "float64"}.get(kind.precision, "int32")
    names = {"float": "float32", "double": "float64", "byte": "uint8", "short": "int16", "int": "int32"}
    return names.get(str(kind), str(kind))


def _remap(a: Args) -> Image:
    source = image(a, "image")
    name = a.get("bandName") or next(iter(source.bands))
    old, new, default = np.array(a.items("from")), np.array(a.items("to")), a.get("defaultValue")
    if len(old) != len(new):
        raise RequestError("Image.remap: 'from' and 'to' must be of the same length.")

    def swap(values: Pixels, valid: Pixels, _: Target) -> tuple[Pixels, Pixels]:
        out, known = np.zeros(values.shape, np.int64), np.zeros(values.shape, bool)
        for before, after in zip(old, new, strict=True):
            out[values == before], known[values == before] = after, True
        if default is not None:
            return np.where(known, out, default), valid
        return out, valid & known

    made = each(select(source, [name]), swap, lambda _: "int32")
    return made.with_bands({"remapped": made.first})


def _visualize(a: Args) -> Image:
    source = image(a, "image")
    bands = a.get("bands")
    if bands is not None:
        source = select(source, bands.split(",") if isinstance(bands, str) else bands)
    if len(source.bands) not in (1, 3):
        source = select(source, list(range(min(3, len(source.bands)))) if len(source.bands) > 2 else [0])
    low, high = (_three(a.get(name, default)) for name, default in (("min", 0), ("max", 1)))
    gamma = _three(a.get("gamma", 1))
    names = list(source.bands) * (3 if len(source.bands) == 1 else 1)
    out = {}
    for k, (colour, name) in enumerate(zip(("red", "green", "blue"), names, strict=True)):

        def stretch(values: Pixels, valid: Pixels, _: Target, k: int = k) -> tuple[Pixels, Pixels]:
            share = np.clip((values.astype(np.float64) - low[k]) / max(high[k] - low[k], 1e-12), 0, 1)
            return np.rint(255 * share ** (1 / gamma[k])), valid

        out[f"vis-{colour}"] = each(Image({name: source.bands[name]}), stretch, lambda _: "uint8").first
    return source.with_bands(out)


def _three(value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    if isinstance(value, str):
        values = value.split(",")
    numbers = [float(number) for number in values]
    return numbers * 3 if len(numbers) == 1 else numbers


def _lonlat(a: Args) -> Image:
    def one(k: int, target: Target) -> tuple[Pixels, Pixels]:
        return target.lonlat()[k], np.ones((target.height, target.width), bool)

    return Image({name: Band(partial(one, k), "float64") for k, name in enumerate(("longitude", "latitude"))})


def _date(a: Args) -> Date:
    start = property_of(image(a, "image"), "system:time_start")
    if start is None:
        raise RequestError("Image.date: the image has no 'system:time_start'.")
    return Date(int(start))


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "Image.constant": lambda a: constant(a["value"]),
    "Image.select": lambda a: select(image(a, "input"), a.items("bandSelectors"), a.get("newNames")),
    "Image.rename": lambda a: select(
        image(a, "input"), list(range(len(image(a, "input").bands))), a.items("names")
    ),
    "Image.slice": lambda a: image(a, "image").with_bands(
        dict(list(image(a, "image").bands.items())[a.integer("start") : a.get("end")])
    ),
    "Image.bandNames": lambda a: list(image(a, "image").bands),
    "Image.bandTypes": lambda a: {
        name: PixelType(precision(band.dtype)) for name, band in image(a, "image").bands.items()
    },
    "Image.date": _date,
    "Image.id": lambda a: property_of(a["element"], "system:index"),
    "Image.addBands": _add_bands,
    "Image.cat": _cat,
    "Image.updateMask": _update_mask,
    "Image.selfMask": lambda a: _update_mask(
        Args("Image.selfMask", {"image": a["image"], "mask": a["image"]})
    ),
    "Image.mask": _mask,
    "Image.unmask": _unmask,
    "Image.where": _where,
    "Image.clamp": lambda a: each(
        image(a, "input"), lambda v, m, _: (np.clip(v, a.number("low"), a.number("high")), m)
    ),
    "Image.normalizedDifference": _normalized_difference,
    "Image.unitScale": _unit_scale,
    "Image.cast": _cast_bands,
    "Image.remap": _remap,
    "Image.visualize": _visualize,
    "Image.pixelLonLat": _lonlat,
}
