"""Checks and conversion of images: what goes into a shard decodes whole and is 8-bit RGB.

RGB JPEG and PNG keep their bytes. Everything else that is 8 bits a band becomes a lossless RGB PNG, and the change is
counted. Wider pixels, animations and damage are refused with a reason.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.sources.base import FetchError
from shards.codec import (
    MAX_PIXELS,
    ImageError,
    TooLargeError,
    decode_jpeg,
    encode_jpeg,
    encode_png,
    header,
    open_image,
)
from shards.failures import FailureClass
from shards.stats import Histogram

_ORIENTATION = 0x0112
_TIFF_BITS = 258
_WIDE = {"I": "32-bit", "F": "floating-point"}


@dataclass(frozen=True)
class Image:
    """An image fit for a shard."""

    data: bytes
    ending: str
    """`jpg` or `png`: the member it becomes."""
    pixels: NDArray[np.uint8]
    """RGB [H, W, 3]."""
    note: str | None = None
    """What was changed: `converted: CMYK`; None where the bytes are those of the archive."""

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.pixels.shape[0])

    def histogram(self) -> Histogram:
        """Counts of each value of each band."""
        return Histogram.of(self.pixels)


def check_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image wholly and bring it to 8-bit RGB.

    Alpha is laid over black. An EXIF orientation is applied (and the result stored as PNG), because readers disagree
    on it.

    Args:
        data: the file.
        max_pixels: more are refused before anything is decoded.

    Raises:
        FetchError: `invalid` (empty, not an image, truncated, more than 8 bits, animated) or `refused` (too large).
    """
    try:
        facts = header(data, max_pixels)
    except TooLargeError as error:
        raise FetchError(FailureClass.REFUSED, str(error), "check") from None
    except ImageError as error:
        raise _invalid(str(error)) from None
    try:
        if facts.format == "JPEG" and facts.mode == "RGB" and not _rotated(data):
            return Image(data, "jpg", decode_jpeg(data))
        return _with_pillow(data, facts.format)
    except ImageError as error:
        raise _invalid(str(error)) from None
    except MemoryError:
        raise FetchError(
            FailureClass.TRANSIENT,
            f"{facts.width} x {facts.height} px do not fit in memory; use fewer workers",
            "check",
        ) from None


def fit(image: Image, *, box: tuple[int, int, int, int] | None = None, size: int | None = None) -> Image:
    """Cut out a box, then scale down; what was changed is stored as JPEG, quality 95, 4:4:4.

    Args:
        image: a checked image.
        box: left, top, right, bottom in pixels; right and bottom are outside.
        size: short side of the result in pixels (bicubic, antialiased); smaller images are not enlarged.
    """
    pixels = image.pixels
    if box is not None:
        left, top, right, bottom = box
        pixels = pixels[top:bottom, left:right]
    if size is not None and size < min(pixels.shape[:2]):
        from PIL import Image as Pillow

        height, width = pixels.shape[:2]
        scale = size / min(height, width)
        side = (max(size, round(width * scale)), max(size, round(height * scale)))
        pixels = np.asarray(Pillow.fromarray(pixels).resize(side, Pillow.Resampling.BICUBIC))
    if pixels is image.pixels:
        return image
    data = encode_jpeg(np.ascontiguousarray(pixels))
    return Image(data, "jpg", decode_jpeg(data), image.note)  # statistics are of the pixels that readers see


def _with_pillow(data: bytes, kind: str) -> Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with open_image(data) as opened:
                _refuse_kind(opened, data)
                opened.load()
                return _to_rgb(opened, data)
        except (FetchError, MemoryError):
            raise
        except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged bytes
            raise ImageError(f"broken {kind} ({error or type(error).__name__})") from None


def _refuse_kind(image: Any, data: bytes) -> None:
    """Refuse what conversion to 8 bits would silently spoil: Pillow opens 16-bit RGB as if it had 8 bits."""
    bits = 8
    if image.format == "PNG":
        bits = data[24]
    elif image.format == "TIFF":
        bits = max(image.tag_v2.get(_TIFF_BITS, (8,)))
    if image.mode.startswith("I;16"):
        bits = 16
    if bits > 8 or image.mode in _WIDE:
        depth = _WIDE.get(image.mode, f"{bits}-bit") if bits in (8, 32) else f"{bits}-bit"
        raise _invalid(f"{depth} pixels; this source takes 8-bit images: scale them to 8 bits first")
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise _invalid(f"{image.n_frames} frames or pages in one {image.format}; one image is expected")


def _to_rgb(image: Any, data: bytes) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageOps

    changes = []
    turned = ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION, 1) != 1 else image
    if turned is not image:
        changes.append("EXIF rotation")
    if turned.has_transparency_data:
        changes.append(f"{image.mode} with alpha")
        layer = turned.convert("RGBA")
        turned = Pillow.new("RGBA", layer.size, (0, 0, 0, 255))
        turned.alpha_composite(layer)
    elif image.mode != "RGB":
        changes.append(image.mode)
    pixels = np.asarray(turned.convert("RGB"))
    if not changes and image.format in ("PNG", "MPO"):
        return Image(data, "png" if image.format == "PNG" else "jpg", pixels)
    if image.format not in ("PNG", "JPEG", "MPO"):
        changes.insert(0, str(image.format))
    return Image(encode_png(pixels), "png", pixels, "converted: " + ", ".join(changes))


def _rotated(data: bytes) -> bool:
    if b"Exif" not in data[: 1 << 16]:
        return False
    with open_image(data) as image:
        return bool(image.getexif().get(_ORIENTATION, 1) != 1)


def _invalid(reason: str) -> FetchError:
    return FetchError(FailureClass.INVALID, reason, "check")
