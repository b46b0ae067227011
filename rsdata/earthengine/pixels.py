"""Pixels of one scene on the grid of a place, from Earth Engine, checked before anything is believed.

Resolutions whose grids nest come in one request on the finest grid: a coarse pixel is then a block of equal fine ones,
which is verified and thinned out again, so nothing is resampled and a scene costs one call instead of three.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.earthengine.session import Session
from rsdata.remote.retry import RemoteError
from rsdata.seasonal.grid import PatchGrid
from rsdata.seasonal.place import Pixels, UnfitError, cloudy
from rsdata.seasonal.scenes import SceneInfo
from rsdata.sensors import CloudMask, Sensor
from shards.failures import FailureClass

SENTINEL = {"uint16": 65535, "int16": -32768, "float32": -9999}
"""What masked pixels are filled with: no sensor delivers it."""


@dataclass(frozen=True)
class _Request:
    """Bands that come together, and the resolution of the grid on which they come."""

    gsd_m: int
    bands: dict[str, int]
    """Name -> metres a pixel of its own."""


def fetch_pixels(
    session: Session, sensor: Sensor, collection: str, scene: SceneInfo, grid: PatchGrid, *, clouds: bool
) -> Pixels:
    """All bands of a scene.

    Args:
        session: to ask.
        sensor: which bands.
        collection: that the scene is of.
        scene: which.
        grid: of the place.
        clouds: whether the cloud mask is wanted too (it comes in the same request).

    Raises:
        UnfitError: the scene has masked pixels here, or the service will not compute it.
        RemoteError: the service failed.
    """
    mask = sensor.cloud_mask if clouds else None
    bands: dict[str, NDArray[Any]] = {}
    for request in _requests(sensor, mask):
        image = _image(sensor, collection, scene, request, mask)
        body = {
            "expression": image,
            "fileFormat": "NPY",
            "bandIds": list(request.bands),
            "grid": _grid(grid, request),
        }
        try:
            got = session.pixels(body, partial(_read, session, sensor, grid, request))
        except RemoteError as error:
            if error.kind not in (FailureClass.INVALID, FailureClass.GONE):
                raise
            raise UnfitError(f"{scene.id}: {error.reason}", error.kind) from None
        for name, values in got.items():
            fill = SENTINEL[sensor.dtype]
            if (values == fill).any():
                share = 100 * float((values == fill).mean())
                raise UnfitError(f"{scene.id}: {share:.1f} % of the patch has no data in {name}")
            bands[name] = _thin(scene, name, values, request.bands[name] // request.gsd_m)
    return Pixels(
        {gsd: np.stack([bands[b.name] for b in sensor.bands_at(gsd)]) for gsd in sensor.resolutions},
        None if mask is None else cloudy(mask, bands[mask.band]),
    )


def _requests(sensor: Sensor, mask: CloudMask | None) -> list[_Request]:
    named = {band.name: band.gsd_m for band in sensor.bands}
    if mask is not None:
        named[mask.band] = mask.gsd_m
    if sensor.nested:
        return [_Request(sensor.finest_m, named)]
    return [
        _Request(gsd, {name: own for name, own in named.items() if own == gsd}) for gsd in sensor.resolutions
    ]


def _image(
    sensor: Sensor, collection: str, scene: SceneInfo, request: _Request, mask: CloudMask | None
) -> Any:
    """The bands of a request in one type, masked pixels filled, also those outside of the footprint."""
    import ee

    apart = mask is not None and mask.collection != "" and mask.band in request.bands
    names = [name for name in request.bands if not (apart and mask is not None and name == mask.band)]
    image = ee.Image(f"{collection}/{scene.id}").select(names)
    if apart and mask is not None:
        image = image.addBands(ee.Image(f"{mask.collection}/{scene.id}").select([mask.band]))
    cast = {"uint16": image.toUint16, "int16": image.toInt16, "float32": image.toFloat}[sensor.dtype]
    return cast().unmask(SENTINEL[sensor.dtype], False)


def _grid(grid: PatchGrid, request: _Request) -> dict[str, Any]:
    a, b, c, d, e, f = grid.affine(request.gsd_m)
    side = grid.side_px(request.gsd_m)
    return {
        "dimensions": {"width": side, "height": side},
        "affineTransform": {
            "scaleX": a, "shearX": b, "translateX": c, "shearY": d, "scaleY": e, "translateY": f
        },
        "crsCode": grid.crs,
    }  # fmt: skip


def _read(
    session: Session, sensor: Sensor, grid: PatchGrid, request: _Request, data: bytes
) -> Mapping[str, NDArray[Any]]:
    """The bands of an answer in the sensor's type.

    Raises:
        RemoteError: it is not the array that was asked for; asking again may help.
    """
    side = grid.side_px(request.gsd_m)
    try:
        array = _structured(data, (side, side), list(request.bands))
        return {name: _typed(array[name], sensor.dtype) for name in request.bands}
    except ValueError as error:
        raise RemoteError(
            FailureClass.INVALID, f"{session.host} sent pixels that are {error}", again=True
        ) from None


def _structured(data: bytes, shape: tuple[int, int], names: Sequence[str]) -> NDArray[Any]:
    """NPY to a structured array; what its header declares is checked before memory is taken."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        found, fortran, dtype = header(file)
    except (ValueError, TypeError, SyntaxError):
        raise ValueError(f"not NPY (they begin with {data[:16]!r})") from None
    if found != shape or fortran:
        raise ValueError(f"of shape {found}; {shape} was asked for")
    if dtype.names is None or list(dtype.names) != list(names) or dtype.hasobject:
        raise ValueError(f"of bands {dtype.names}; {tuple(names)} was asked for")
    if len(data) - file.tell() != dtype.itemsize * shape[0] * shape[1]:
        raise ValueError(f"cut off after {len(data):,} bytes")
    return np.frombuffer(data, dtype, offset=file.tell()).reshape(shape)


def _typed(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values in the stored type, none of them changed by it."""
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise ValueError(f"of type {values.dtype}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError("not all finite")
    with np.errstate(invalid="ignore", over="ignore"):
        out = values.astype(dtype)
    if dtype != "float32" and not np.array_equal(out, values):
        raise ValueError(f"not whole numbers of {dtype}")
    return out


def _thin(scene: SceneInfo, name: str, values: NDArray[Any], factor: int) -> NDArray[Any]:
    """One of each block of `factor` x `factor` equal values."""
    out = np.ascontiguousarray(values[::factor, ::factor])
    if factor > 1 and not np.array_equal(out.repeat(factor, 0).repeat(factor, 1), values):
        raise UnfitError(
            f"{scene.id}: the pixels of {name} are not those of its own grid", FailureClass.INVALID
        )
    return out
