"""A band in a small TIFF of its own, as many archives store them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rsdata.sources.base import FetchError, read_file


def read_band(root: Path, url: str, *, height: int, width: int, dtype: str) -> NDArray[Any]:
    """The pixels [height, width] of a one-band TIFF; its georeference is not looked at, which takes GDAL ten times as long.

    Raises:
        FetchError: gone, not readable, damaged, or of another size or type.
    """
    import cv2

    from shards.codec import ImageError, decode
    from shards.failures import FailureClass

    data = read_file(root, url, None)
    level = cv2.utils.logging.setLogLevel(
        cv2.utils.logging.LOG_LEVEL_SILENT
    )  # else a line for each tag of GeoTIFF
    try:
        pixels: NDArray[Any] = decode("tif", data)
    except ImageError as error:
        raise FetchError(FailureClass.INVALID, f"{root / url}: {error}", "check") from None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels.shape != (height, width) or pixels.dtype != dtype:
        found = f"{pixels.dtype} pixels of shape {pixels.shape}"
        raise FetchError(
            FailureClass.INVALID, f"{root / url}: {found}; expected {dtype} [{height}, {width}]", "check"
        )
    return pixels
