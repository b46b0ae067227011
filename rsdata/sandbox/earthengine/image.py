"""Images: lazy bands that are read on a grid, each with the projection that it has by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from rsdata.sandbox.earthengine.values import Projection, RequestError

Pixels = NDArray[Any]
Transform = tuple[float, float, float, float, float, float]
_LEAST_MOST = {
    "uint8": (0, 255),
    "int8": (-128, 127),
    "uint16": (0, 65_535),
    "int16": (-32_768, 32_767),
    "uint32": (0, 2**32 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
}


@dataclass(frozen=True)
class Target:
    """The grid that pixels are wanted on."""

    crs: str
    transform: Transform
    width: int
    height: int

    def xy(self) -> tuple[Pixels, Pixels]:
        """Coordinates of pixel centres in the CRS, [H, W] each."""
        a, b, c, d, e, f = self.transform
        column, row = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        return a * column + b * row + c, d * column + e * row + f

    def lonlat(self) -> tuple[Pixels, Pixels]:
        """Degrees at pixel centres, [H, W] each."""
        return to_lonlat(self.crs, *self.xy())


@dataclass(frozen=True)
class Band:
    """One band of an image, not read yet."""

    read: Callable[[Target], tuple[Pixels, Pixels]]
    """-> values and validity, [H, W] each."""
    dtype: str
    projection: Projection | None = None
    """None: it has none of its own (a constant)."""
    size: tuple[int, int] | None = None
    """Width and height of the native grid; None: unbounded."""
    source: tuple[Any, str] | None = None
    """Scene and band name where nothing was done to it, so that bands can be read together."""

    def info(self, name: str) -> dict[str, Any]:
        """As an image's description lists it."""
        kind: dict[str, Any] = {"type": "PixelType", "precision": precision(self.dtype)}
        if self.dtype in _LEAST_MOST:
            kind["min"], kind["max"] = _LEAST_MOST[self.dtype]
        projection = self.projection or Projection("EPSG:4326")
        value: dict[str, Any] = {
            "id": name,
            "data_type": kind,
            "crs": projection.crs,
            "crs_transform": list(projection.transform),
        }
        if self.size:
            value["dimensions"] = list(self.size)
        return value


@dataclass(frozen=True)
class Image:
    """Named bands with properties."""

    bands: Mapping[str, Band]
    properties: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None
    geometry: shapely.Geometry | None = None
    """Footprint, degrees; None: unbounded."""
    target: Target | None = None
    """The grid that the image was told to come out on."""

    def with_bands(self, bands: Mapping[str, Band], **changes: Any) -> Image:
        """Other pixels under the same name and properties."""
        return replace(self, bands=bands, **changes)

    @property
    def first(self) -> Band:
        """The first band.

        Raises:
            RequestError: there is none.
        """
        for band in self.bands.values():
            return band
        raise RequestError("Image has no bands.")

    @property
    def projection(self) -> Projection:
        """Of the first band that has one."""
        for band in self.bands.values():
            if band.projection:
                return band.projection
        return Projection("EPSG:4326")

    def read(self, target: Target, names: list[str] | None = None) -> tuple[list[Pixels], list[Pixels]]:
        """Values and validity of bands on a grid; bands of one untouched scene are read together."""
        from rsdata.sandbox.scenes import stack

        chosen = [self.bands[name] for name in (list(self.bands) if names is None else names)]
        sources = {id(band.source[0]): band.source[0] for band in chosen if band.source}
        if len(sources) == 1 and all(band.source for band in chosen):
            (scene,) = sources.values()
            wanted = [band.source[1] for band in chosen if band.source]
            values, masks = stack(scene, wanted, target.transform, target.width, target.height, target.crs)
            return list(values), list(masks)
        pairs = [band.read(target) for band in chosen]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def constant(value: Any) -> Image:
    """An image of one value everywhere; a list gives several bands."""
    values = value if isinstance(value, list) else [value]
    bands = {}
    for k, each in enumerate(values):
        if isinstance(each, bool):
            each = int(each)
        if not isinstance(each, int | float):
            raise RequestError(f"Image.constant: cannot make an image of {type(each).__name__}.")
        dtype = "float64" if isinstance(each, float) and not each.is_integer() else _smallest(int(each))
        bands["constant" if len(values) == 1 else f"constant_{k}"] = Band(_filled(each, dtype), dtype)
    return Image(bands)


def _smallest(value: int) -> str:
    for dtype, (least, most) in _LEAST_MOST.items():
        if least <= value <= most:
            return dtype
    return "float64"


def _filled(value: float, dtype: str) -> Callable[[Target], tuple[Pixels, Pixels]]:
    def read(target: Target) -> tuple[Pixels, Pixels]:
        shape = (target.height, target.width)
        return np.full(shape, value, dtype), np.ones(shape, bool)

    return read


def as_image(value: Any) -> Image:
    """An image, or what stands for one.

    Raises:
        RequestError: it cannot be one.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, bool | int | float | list):
        return constant(value)
    raise RequestError(f"Invalid type. Expected type: Image. Actual type: {type(value).__name__}.")


def combine(
    left: Image, right: Image, operation: Callable[[Pixels, Pixels], Pixels], dtype: Callable[[str, str], str]
) -> Image:
    """Band by band: by position where one has one band or both as many, else by common names."""
    if len(right.bands) == 1:
        pairs = [(name, band, right.first) for name, band in left.bands.items()]
    elif len(left.bands) == 1:
        pairs = [(name, left.first, band) for name, band in right.bands.items()]
    elif common := [name for name in left.bands if name in right.bands]:
        pairs = [(name, left.bands[name], right.bands[name]) for name in common]
    elif len(left.bands) == len(right.bands):
        pairs = [
            (name, band, other)
            for (name, band), other in zip(left.bands.items(), right.bands.values(), strict=True)
        ]
    else:
        raise RequestError("Images with different numbers of bands cannot be combined.")
    bands = {name: _both(a, b, operation, dtype(a.dtype, b.dtype)) for name, a, b in pairs}
    return Image(bands, geometry=left.geometry or right.geometry, target=left.target or right.target)


def _both(a: Band, b: Band, operation: Callable[[Pixels, Pixels], Pixels], dtype: str) -> Band:
    def read(target: Target) -> tuple[Pixels, Pixels]:
        first, valid = a.read(target)
        second, also = b.read(target)
        with np.errstate(all="ignore"):
            values = operation(first, second)
        good = valid & also
        if values.dtype.kind == "f":
            good = good & np.isfinite(values)
        return np.where(good, values, 0).astype(dtype), good

    home = a if a.projection else b
    return Band(read, dtype, home.projection, home.size)


def each(
    image: Image,
    operation: Callable[[Pixels, Pixels, Target], tuple[Pixels, Pixels]],
    dtype: Callable[[str], str] = lambda same: same,
    **changes: Any,
) -> Image:
    """The same done to every band: values, validity and grid -> values and validity."""

    def of(band: Band) -> Band:
        made = dtype(band.dtype)

        def read(target: Target) -> tuple[Pixels, Pixels]:
            with np.errstate(all="ignore"):
                values, valid = operation(*band.read(target), target)
            return np.where(valid, values, 0).astype(made), valid

        return Band(read, made, band.projection, band.size)

    return image.with_bands({name: of(band) for name, band in image.bands.items()}, **changes)


def precision(dtype: str) -> str:
    """As a PixelType says it."""
    return {"float32": "float", "float64": "double"}.get(dtype, "int")


def to_lonlat(crs: str, x: Any, y: Any) -> tuple[Any, Any]:
    """Degrees of coordinates in a CRS."""
    from rsdata.sandbox.world.grid import transformer
    from shards.errors import ConfigError

    if crs == "EPSG:4326":
        return x, y
    try:
        return transformer(crs).transform(x, y)
    except ConfigError:
        raise RequestError(f"The CRS of a map projection could not be parsed: {crs!r}.") from None


def from_lonlat(crs: str, lon: Any, lat: Any) -> tuple[Any, Any]:
    """Coordinates in a CRS of degrees."""
    from rsdata.sandbox.world.grid import transformer
    from shards.errors import ConfigError

    if crs == "EPSG:4326":
        return lon, lat
    try:
        return transformer(crs).transform(lon, lat, direction="INVERSE")
    except ConfigError:
        raise RequestError(f"The CRS of a map projection could not be parsed: {crs!r}.") from None


def box_in(projection: Projection, region: shapely.Geometry) -> Target:
    """The pixels of a projection's grid that the bounds of a region (degrees) touch."""
    points = shapely.get_coordinates(shapely.segmentize(region, 0.01) if region.area < 4 else region)
    if not len(points) or not np.isfinite(points).all():
        raise RequestError("Geometry has no area.")
    x, y = from_lonlat(projection.crs, points[:, 0], points[:, 1])
    a, _, c, _, e, f = projection.transform
    columns, rows = (np.asarray(x) - c) / a, (np.asarray(y) - f) / e
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        raise RequestError("Unable to transform the region into the image's projection.")
    left, top = int(np.floor(columns.min() + 1e-6)), int(np.floor(rows.min() + 1e-6))
    right, bottom = int(np.ceil(columns.max() - 1e-6)), int(np.ceil(rows.max() - 1e-6))
    return Target(
        projection.crs,
        (a, 0.0, c + left * a, 0.0, e, f + top * e),
        max(right - left, 1),
        max(bottom - top, 1),
    )
