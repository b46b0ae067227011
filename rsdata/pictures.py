"""One image, or a window of it, as members of a sample: 8-bit RGB as JPEG or PNG, anything wider as bands."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsdata.images import Image, check_image, fit
from rsdata.sources.base import FetchError, read_file
from shards.codec import ImageError, TooLargeError, decode_jpeg, encode_jpeg, header
from shards.failures import FailureClass
from shards.stats import Histogram

if TYPE_CHECKING:
    from rsdata.curate.tiling import Window
    from shards.dataset import Member

_HEADER = 1 << 20
"""Bytes that hold the header of a JPEG or PNG, with what cameras and editors put before it."""
WIDE = "b0.b2nd"
"""Member with the bands of an image that is not 8-bit RGB."""


@dataclass(frozen=True)
class Picture:
    """Pixels fit for a shard."""

    member: str
    data: bytes
    width: int
    """Of what was read: of the window, where there is one."""
    height: int
    whole: tuple[int, int]
    """Width and height of the whole image."""
    histogram: Histogram
    lon: float | None = None
    """Of the middle, where the file tells; degrees."""
    lat: float | None = None
    note: str | None = None


def read_picture(
    root: Path,
    url: str,
    size: int | None,
    *,
    window: Window | None = None,
    bands: Sequence[str] = (),
    dtype: str = "uint8",
    max_pixels: int,
) -> Picture:
    """Read and check an image of a local archive.

    A window of 8-bit RGB is stored as JPEG, quality 95, 4:4:4; a whole image as `check_image` says; bands without loss.

    Args:
        root: folder of the archive.
        url: path in it.
        size: bytes, as planned.
        window: the part to read; of a TIFF nothing else is decoded.
        bands: names of the bands of imagery that is not 8-bit RGB; empty for what is.
        dtype: numpy name of the type of such bands.
        max_pixels: larger images are refused.

    Raises:
        FetchError: gone, changed since the plan, broken, too large, or of another kind than said.
    """
    if bands or (window is not None and is_tiff(url)):
        return _from_tiff(root, url, size, window, bands, dtype, max_pixels)
    image = (_checked if window is None else _held)(root, url, size, max_pixels)
    whole = (image.width, image.height)
    if window is not None:
        _check_window(window, *whole)
        image = fit(image, box=window)
    place = _middle(root / url, *whole)
    return Picture(
        image.ending, image.data, image.width, image.height, whole, image.histogram(), *place, image.note
    )


def members_of(bands: Sequence[str], dtype: str) -> list[Member] | None:
    """What `Source.set_members` says of imagery with these bands."""
    from shards.dataset import Band, Member

    if not bands:
        return None
    known = [Band(name=name) for name in bands]
    return [Member(ending=WIDE, dtype=dtype, shape=(None, None, len(bands)), bands=known)]


def size_of(path: Path, max_pixels: int) -> tuple[int, int]:
    """Width and height by the header alone.

    Raises:
        FetchError: not an image that can be read, or too large.
    """
    if is_tiff(path.name):
        with opened(path) as file:
            return file.width, file.height
    try:
        with path.open("rb") as file:
            facts = header(file.read(_HEADER), max_pixels)
    except OSError as error:
        raise FetchError(FailureClass.GONE, f"{path}: cannot be read ({error.strerror})", "plan") from None
    except TooLargeError as error:
        raise FetchError(FailureClass.REFUSED, str(error), "plan") from None
    except ImageError as error:
        raise FetchError(FailureClass.INVALID, str(error), "plan") from None
    return facts.width, facts.height


def is_tiff(url: str) -> bool:
    """By the ending."""
    return url.lower().endswith((".tif", ".tiff"))


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A TIFF as rasterio opens it; no other driver of GDAL is asked, some of which fetch what a file names.

    Raises:
        FetchError: gone, or not to be read; also while the block reads from it.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    if not path.exists():
        raise FetchError(FailureClass.GONE, f"{path}: is not there")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as file:
                yield file
        except RasterioError as error:
            first = str(error).splitlines()[0]
            raise FetchError(FailureClass.INVALID, f"broken TIFF ({first})", "check") from None


def _checked(root: Path, url: str, size: int | None, max_pixels: int) -> Image:
    return check_image(read_file(root, url, size), max_pixels=max_pixels)


@lru_cache(maxsize=1)
def _held(root: Path, url: str, size: int | None, max_pixels: int) -> Image:
    """The image whose tiles are asked for now: they follow each other."""
    return _checked(root, url, size, max_pixels)


def _from_tiff(
    root: Path,
    url: str,
    size: int | None,
    window: Window | None,
    bands: Sequence[str],
    dtype: str,
    max_pixels: int,
) -> Picture:
    _check_file(root, url, size)
    with opened(root / url) as file:
        whole = (file.width, file.height)
        kinds = set(file.dtypes)
        expected = (len(bands), dtype) if bands else (3, "uint8")
        if (file.count, kinds) != (expected[0], {expected[1]}):
            raise FetchError(
                FailureClass.INVALID,
                f"{file.count} bands of {'/'.join(sorted(kinds))}; expected {expected[0]} of {expected[1]} "
                "(--band-names, --dtype)",
                "check",
            )
        _check_window(window, *whole)
        left, top, right, bottom = window or (0, 0, *whole)
        if (right - left) * (bottom - top) > max_pixels:
            raise FetchError(
                FailureClass.REFUSED,
                f"{right - left} x {bottom - top} px is more than {max_pixels:,} pixels (--max-pixels)",
                "check",
            )
        pixels: NDArray[Any] = file.read(window=((top, bottom), (left, right)))
        place = _centre(file, (left + right) / 2, (top + bottom) / 2)
    height, width = pixels.shape[1:]
    if bands:
        from shards.raster import encode_raster

        histogram = Histogram.of(pixels.transpose(1, 2, 0))
        return Picture(WIDE, encode_raster(pixels), width, height, whole, histogram, *place)
    data = encode_jpeg(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    seen = decode_jpeg(data)  # statistics are of the pixels that readers see
    return Picture("jpg", data, width, height, whole, Histogram.of(seen), *place)


def _check_file(root: Path, url: str, size: int | None) -> None:
    """What `read_file` checks, of a file that is not read whole."""
    if url.startswith("/") or ".." in url.split("/"):
        raise FetchError(FailureClass.REFUSED, f"the path {url!r} leaves the folder of the archive")
    path = root / url
    if not path.is_file():
        raise FetchError(FailureClass.GONE, f"{path}: was there when planned and is gone")
    found = path.stat().st_size
    if size is not None and found != size:
        raise FetchError(
            FailureClass.INVALID, f"{path}: {found:,} bytes, {size:,} when planned; it was changed"
        )


def _check_window(window: Window | None, width: int, height: int) -> None:
    if window is not None and (window[2] > width or window[3] > height):
        raise FetchError(
            FailureClass.INVALID, f"is {width} x {height} px now, smaller than when planned; it was changed"
        )


def _middle(path: Path, width: int, height: int) -> tuple[float | None, float | None]:
    if not is_tiff(path.name):
        return None, None
    with opened(path) as file:
        return _centre(file, width / 2, height / 2)


def _centre(file: Any, column: float, row: float) -> tuple[float | None, float | None]:
    """Longitude and latitude of a pixel where the file tells its place."""
    if file.crs is None:
        return None, None
    from rasterio.warp import transform

    x, y = file.xy(row, column, offset="ul")
    (lon,), (lat,) = transform(file.crs, "EPSG:4326", [x], [y])
    return (lon, lat) if abs(lon) <= 180 and abs(lat) <= 90 else (None, None)
