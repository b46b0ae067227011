"""Bytes of a row to the pixels of a crop: decode no more than is needed, cut, resize. Needs neither torch nor PIL."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from rstrain.data.augment import Cut, resized
from shards.codec import ImageError, decode, decode_jpeg, decode_rgb, ending
from shards.index import Index

Pixels = NDArray[np.uint8]

LINEAR_UP_TO = 4 / 3
"""A random crop that shrinks by less than this is resized linearly: two grey levels from an antialiased resize (mean
over AID scenes) at an eighth of the cost of area averaging."""


class Reader:
    """Decoded rows of an index, uint8 [H, W, C] with C the bands that dataset.json declares."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.bands = len(index.info.bands)
        self.height = index.column("height").astype(np.int64)
        """int64 [rows], of the stored images, pixels."""
        self.width = index.column("width").astype(np.int64)
        members = index.table["member"].combine_chunks().dictionary_encode()
        self._members: list[str] = pc.cast(members.dictionary, "string").to_pylist()
        self._member = members.indices.to_numpy(zero_copy_only=False)

    def read(self, row: int, shrink: float = 1.0) -> Pixels:
        """Decode a row; a JPEG may come smaller by n/8, but never by more than `shrink` (≥ 1).

        Raises:
            ShardError: the bytes are damaged.
            ImageError: they are whole but are no image of the declared kind; shard and key are named.
        """
        data = self.index.read(row)
        member = self._members[self._member[row]]
        least = 0
        if shrink > 1:
            least = math.ceil(min(self.height[row], self.width[row]) / shrink)
        try:
            pixels = self._decode(member, data, least)
            expected = (self.height[row], self.width[row])
            if not least and pixels.shape[:2] != expected:
                raise ImageError(
                    f"{pixels.shape[0]} x {pixels.shape[1]} pixels; the index says {expected[0]} x {expected[1]}"
                )
            return pixels
        except ImageError as error:
            raise self._named(row, member, str(error)) from None

    def _decode(self, member: str, data: bytes, min_side: int) -> Pixels:
        if self.bands == 3:
            return decode_rgb(member, data, min_side)
        jpeg = ending(member) in ("jpg", "jpeg")
        pixels: NDArray[Any] = decode_jpeg(data, min_side) if jpeg else np.asarray(decode(member, data))
        if pixels.dtype != np.uint8:
            raise ImageError(f"{pixels.dtype} pixels; only 8-bit pixels can be trained on so far")
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if self.bands == 1 and jpeg:
            pixels = np.ascontiguousarray(pixels[..., :1])  # a grey JPEG is decoded to three equal bands
        if pixels.ndim != 3 or pixels.shape[2] != self.bands:
            raise ImageError(
                f"pixels of shape {pixels.shape}; dataset.json declares [height, width, {self.bands}]"
            )
        return pixels

    def _named(self, row: int, member: str, reason: str) -> ImageError:
        shard, key = (self.index.table[name][row].as_py() for name in ("shard", "key"))
        return ImageError(
            f"{self.index.store.path(shard)}: sample {key}, member {member}: {reason}\n"
            f"  The set was written like this. Run: rsdata verify {self.index.store}"
        )


def crop(pixels: Pixels, cut: Cut, size: int) -> Pixels:
    """Cut out a view and bring it to [size, size, C], flipped and turned as drawn.

    The box is scaled to the pixels given (the decoder may have made them smaller, `resize` may have asked for a
    larger frame) and rounded to whole pixels: one resize instead of two. Against `Resize` and then a crop this moves
    an edge by at most half a stored pixel, and samples the stored pixels once.
    """
    rows, cols = pixels.shape[:2]
    top, bottom = _span(cut.top, cut.height, rows)
    left, right = _span(cut.left, cut.width, cols)
    out = resize(pixels[top:bottom, left:right], size, size, linear_up_to=LINEAR_UP_TO)
    if cut.hflip or cut.vflip:
        out = out[:: -1 if cut.vflip else 1, :: -1 if cut.hflip else 1]
    if cut.turns:
        out = np.rot90(out, cut.turns)
    return np.ascontiguousarray(out)


def _span(start: float, length: float, side: int) -> tuple[int, int]:
    """A share of a side in whole pixels, at least one."""
    first = min(round(start * side), side - 1)
    return first, max(min(round((start + length) * side), side), first + 1)


def shrink_of(cut: Cut, height: int, width: int, size: int) -> float:
    """By how much an image may be decoded smaller so that the crop still has `size` pixels a side."""
    return max(1.0, min(cut.height * height, cut.width * width) / size)


def resize(pixels: Pixels, height: int, width: int, *, linear_up_to: float = 1.0) -> Pixels:
    """Resize [H, W, C]: linear where it grows (or shrinks by no more than `linear_up_to`), else averages of areas.

    PIL's and torchvision's antialiased bilinear is a little softer than area averaging; the mean difference on AID
    scenes is one to three grey levels.
    """
    rows, cols = pixels.shape[:2]
    if (rows, cols) == (height, width):
        return pixels
    shrink = max(rows / height, cols / width)
    how = cv2.INTER_LINEAR if shrink <= linear_up_to else cv2.INTER_AREA
    if pixels.ndim == 3 and pixels.shape[2] > 4:  # OpenCV resizes at most four bands at once
        parts = [pixels[..., c : c + 4] for c in range(0, pixels.shape[2], 4)]
        done = [resize(np.ascontiguousarray(p), height, width, linear_up_to=linear_up_to) for p in parts]
        return np.concatenate(done, axis=2)
    out: Pixels = cv2.resize(pixels, (width, height), interpolation=how)
    return out if out.ndim == 3 else out[..., None]


def short_side(pixels: Pixels, height: int, width: int, size: int) -> Pixels:
    """Resize as torchvision's `Resize(size)` would an image of `height` x `width`, of which these are the pixels."""
    rows, cols = resized(np.asarray(height), np.asarray(width), size)
    return resize(pixels, int(rows), int(cols))
