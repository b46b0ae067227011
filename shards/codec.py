"""Member ending <-> array: the bytes in a shard to pixels, with bombs refused before anything is decoded."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.errors import UserError

MAX_PIXELS = 300_000_000
"""Larger images are refused unless asked for: fMoW's largest is near 270 million, a bomb is billions."""


_opening = threading.Lock()


class ImageError(UserError):
    """Bytes that are no image, a broken one, or one of a kind that is not taken."""


class TooLargeError(ImageError):
    """A whole image, as far as its header tells, with more pixels than we decode."""


@dataclass(frozen=True)
class ImageHeader:
    """What the first bytes of an image say."""

    format: str
    """`JPEG`, `PNG`, `TIFF`, … as Pillow names them."""
    mode: str
    """Pillow's mode: `RGB`, `L`, `P`, `RGBA`, `CMYK`, `I;16`, …"""
    width: int
    height: int


def ending(member: str) -> str:
    """`000.jpg` -> `jpg`."""
    return member.rsplit(".", 1)[-1].lower()


def open_image(data: bytes) -> Any:
    """Pillow's image of these bytes, not decoded yet; its own guard against bombs is off: see `header`."""
    from PIL import Image

    with _opening:  # the guard is a global of Pillow
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def header(data: bytes, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read the header alone; nothing is decoded.

    Raises:
        TooLargeError: more than `max_pixels` pixels.
        ImageError: empty, or not an image.
    """
    if not data:
        raise ImageError("the file is empty")
    try:
        with open_image(data) as image:
            facts = ImageHeader(image.format or "", image.mode, *image.size)
    except Exception as error:  # Pillow's readers raise a dozen kinds on foreign bytes
        raise ImageError(
            f"not an image that can be read ({type(error).__name__}; begins with {data[:8]!r})"
        ) from None
    if facts.width * facts.height > max_pixels:
        raise TooLargeError(
            f"{facts.width} x {facts.height} px is more than {max_pixels:,} pixels (--max-pixels)"
        )
    return facts


def decode(member: str, data: bytes) -> Any:
    """Pixels [H, W, C] or [H, W] of an image member, the array of `npy`, the object of `json`, the integer of `cls`.

    `b2nd` is stored a band after the other and comes as [H, W, C] like the rest; see `shards/raster.py`.

    Raises:
        ImageError: the bytes do not decode whole.
    """
    kind = ending(member)
    if kind in ("jpg", "jpeg"):
        return decode_jpeg(data)
    if kind in ("png", "tif", "tiff", "webp"):
        return _opencv(data)
    if kind == "b2nd":
        from shards.raster import decode_raster

        return np.ascontiguousarray(decode_raster(data).transpose(1, 2, 0))
    if kind == "npy":
        try:
            return np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ImageError(f"not a numpy array: {error}") from None
    if kind == "json":
        import json

        return json.loads(data)
    if kind == "cls":
        return int(data)
    raise ImageError(f"member {member!r}: no codec for .{kind}; known: jpg png tif webp b2nd npy json cls")


def decode_jpeg(data: bytes, min_side: int = 0, *, strict: bool = True) -> NDArray[np.uint8]:
    """RGB (or grey) JPEG to uint8 [H, W, 3].

    Args:
        data: the file.
        min_side: where positive, the decoder may scale by n/8 as long as both sides stay at least this long.
        strict: refuse truncated files; a decoder otherwise fills the rest with grey.
    """
    import simplejpeg

    try:
        out: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, colorspace="RGB", min_height=min_side, min_width=min_side, strict=strict
        )
    except ValueError as error:
        raise ImageError(f"broken JPEG ({error})") from None
    return out


def decode_rgb(member: str, data: bytes, min_side: int = 0) -> NDArray[np.uint8]:
    """Any 8-bit image member as RGB uint8 [H, W, 3]; grey is repeated.

    Raises:
        ImageError: broken, or not 8 bits a band.
    """
    if ending(member) in ("jpg", "jpeg"):
        return decode_jpeg(data, min_side)
    pixels = np.asarray(decode(member, data))
    if pixels.dtype != np.uint8:
        raise ImageError(f"member {member!r} has {pixels.dtype} pixels; expected 8-bit RGB")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if pixels.shape[2] != 3:
        raise ImageError(f"member {member!r} has {pixels.shape[2]} bands; expected 3")
    return pixels


def decode_bands(member: str, data: bytes, bands: int, min_side: int = 0) -> NDArray[Any]:
    """An image member as [H, W, bands] of its own type; a JPEG may come smaller, as `decode_jpeg` says.

    Raises:
        ImageError: broken, or with another number of bands.
    """
    jpeg = ending(member) in ("jpg", "jpeg")
    pixels: NDArray[Any] = decode_jpeg(data, min_side) if jpeg else np.asarray(decode(member, data))
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if bands == 1 and jpeg:
        pixels = np.ascontiguousarray(pixels[..., :1])  # a grey JPEG is decoded to three equal bands
    if pixels.ndim != 3 or pixels.shape[2] != bands:
        raise ImageError(f"pixels of shape {pixels.shape}; dataset.json declares [height, width, {bands}]")
    return pixels


def encode_png(pixels: NDArray[Any]) -> bytes:
    """Lossless PNG of [H, W] or RGB [H, W, 3], uint8 or uint16; see `shards/png.py`."""
    from shards.png import encode_png as encode

    return encode(pixels)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """JPEG of RGB uint8 [H, W, 3], 4:2:0 below quality 95, 4:4:4 from there."""
    import simplejpeg

    subsampling = "444" if quality >= 95 else "420"
    return bytes(
        simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling=subsampling)
    )


def _opencv(data: bytes) -> NDArray[Any]:
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"does not decode ({error.msg if hasattr(error, 'msg') else error})") from None
    if pixels is None:
        raise ImageError("does not decode: truncated or damaged")
    if pixels.ndim == 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    return np.asarray(pixels)
