"""Pixels as files: NPY, GeoTIFF, PNG, JPEG, and zips of GeoTIFFs."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import numpy as np

from rsdata.sandbox.earthengine.image import Image, Pixels, Target
from rsdata.sandbox.earthengine.values import RequestError

TYPES = {
    "NPY": "application/octet-stream",
    "GEO_TIFF": "image/tiff",
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "ZIPPED_GEO_TIFF": "application/zip",
    "ZIPPED_GEO_TIFF_PER_BAND": "application/zip",
}
"""Format -> content type."""


def check_size(image: Image, target: Target, limit: int, side: int = 32_768) -> None:
    """Refuse what the service refuses.

    Raises:
        RequestError: too many bytes, too long a side, too many bands.
    """
    if target.width < 1 or target.height < 1:
        raise RequestError("Pixel grid dimensions must be positive.")
    if target.width > side or target.height > side:
        raise RequestError(
            f"Pixel grid dimensions ({target.width}x{target.height}) must be less than or equal to {side}."
        )
    if len(image.bands) > 1024:
        raise RequestError(f"Number of bands ({len(image.bands)}) must be less than or equal to 1024.")
    size = target.width * target.height * sum(np.dtype(band.dtype).itemsize for band in image.bands.values())
    if size > limit:
        raise RequestError(f"Total request size ({size} bytes) must be less than or equal to {limit} bytes.")


def encode(image: Image, target: Target, file_format: str, prefix: str = "download") -> tuple[bytes, str]:
    """All bands of an image on a grid -> file and content type.

    Raises:
        RequestError: the format is not served, or cannot hold these bands.
    """
    if file_format in ("AUTO_JPEG_PNG", "", "IMAGE_FILE_FORMAT_UNSPECIFIED"):
        file_format = "PNG"
    if file_format not in TYPES:
        raise RequestError(f"Unsupported file format {file_format!r}; served: {', '.join(TYPES)}.")
    if not image.bands:
        raise RequestError("Image has no bands.")
    values, masks = image.read(target)
    typed = [
        part.astype(band.dtype, copy=False) for part, band in zip(values, image.bands.values(), strict=True)
    ]
    names = list(image.bands)
    if file_format == "NPY":
        data = _npy(names, typed)
    elif file_format in ("PNG", "JPEG"):
        data = _picture(typed, masks, file_format)
    elif file_format == "ZIPPED_GEO_TIFF_PER_BAND":
        data = zipped(
            {
                f"{prefix}.{name}.tif": _tiff([name], [part], target)
                for name, part in zip(names, typed, strict=True)
            }
        )
    else:
        data = _tiff(names, typed, target)
        if file_format == "ZIPPED_GEO_TIFF":
            data = zipped({f"{prefix}.tif": data})
    return data, TYPES[file_format]


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip; the same files give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def _npy(names: Sequence[str], values: Sequence[Pixels]) -> bytes:
    height, width = values[0].shape
    array = np.empty((height, width), [(name, part.dtype) for name, part in zip(names, values, strict=True)])
    for name, part in zip(names, values, strict=True):
        array[name] = part
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _picture(values: Sequence[Pixels], masks: Sequence[Pixels], file_format: str) -> bytes:
    from PIL import Image as Picture

    if len(values) not in (1, 3):
        raise RequestError(f"Unable to encode {len(values)} bands as {file_format}; 1 or 3 are needed.")
    planes = [np.clip(part, 0, 255).astype(np.uint8) for part in values]
    valid = np.logical_and.reduce(list(masks))
    if file_format == "PNG" and not valid.all():
        planes = planes * (3 if len(planes) == 1 else 1)
        planes.append((valid * 255).astype(np.uint8))
    picture = Picture.fromarray(planes[0] if len(planes) == 1 else np.stack(planes, -1))
    out = io.BytesIO()
    picture.save(out, file_format)
    return out.getvalue()


def _tiff(names: Sequence[str], values: Sequence[Pixels], target: Target) -> bytes:
    import rasterio
    from rasterio.io import MemoryFile

    a, b, c, d, e, f = target.transform
    dtype = np.result_type(*(part.dtype for part in values))
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=target.width,
            height=target.height,
            count=len(values),
            dtype=str(dtype),
            crs=target.crs,
            transform=rasterio.Affine(a, b, c, d, e, f),
            compress="deflate",
        ) as out:
            for k, (name, part) in enumerate(zip(names, values, strict=True), start=1):
                out.write(part.astype(dtype, copy=False), k)
                out.set_band_description(k, name)
        return bytes(memory.read())
