"""Bytes of a row to the pixels of a crop: decode no more than is needed, cut, resize. Needs neither torch nor PIL."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from rstrain.data.augment import Cut, resized
from rstrain.data.reading import complete
from rstrain.data.stack import Stack, levels
from shards.codec import ImageError, decode_bands, decode_rgb
from shards.index import Index

Pixels = NDArray[Any]
"""uint8 or float32 levels."""

LINEAR_UP_TO = 4 / 3
"""A random crop that shrinks by less than this is resized linearly: two grey levels from an antialiased resize (mean
over AID scenes) at an eighth of the cost of area averaging."""
_TURNS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


class Reader:
    """Decoded rows of an index, [H, W, C] with C the bands of `index.reading`.

    uint8, or float32 where the reading makes levels of wider numbers and keeps their fractions.
    """

    def __init__(self, index: Index) -> None:
        self.index = index = complete(index)
        reading = index.reading
        self.bands = len(reading.bands)
        self.dtype = np.dtype(np.float32 if reading.low and not reading.whole else np.uint8)
        names = [band.name for band in index.info.bands]
        self._stored = len(names)
        self._chosen = None if list(reading.bands) == names else [names.index(band) for band in reading.bands]
        self._stack = Stack(index) if Stack.fits(index.info) else None
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
        member = self._members[self._member[row]]
        if self._stack is not None:
            try:
                return self._stack.read(row, int(self.height[row]), int(self.width[row]))
            except ImageError as error:
                raise self._named(row, member, str(error)) from None
        data = self.index.read(row)
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
        if self._stored == 3 and not self.index.reading.low:
            rgb = decode_rgb(member, data, min_side)
            return rgb if self._chosen is None else np.ascontiguousarray(rgb[..., self._chosen])
        pixels = decode_bands(member, data, self._stored, min_side)
        if pixels.dtype != np.uint8 and not self.index.reading.low:
            raise ImageError(f"{pixels.dtype} pixels; dataset.json declares 8-bit ones")
        if self._chosen is not None:
            pixels = np.ascontiguousarray(pixels[..., self._chosen])
        if not self.index.reading.low:
            return pixels
        planes = [levels(pixels[..., band], self.index.reading, band) for band in range(self.bands)]
        return np.stack(planes, axis=-1)

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
    return turned(out, hflip=bool(cut.hflip), vflip=bool(cut.vflip), turns=int(cut.turns))


def turned(pixels: Pixels, *, hflip: bool, vflip: bool, turns: int) -> Pixels:
    """[H, W, C] mirrored, then turned by quarters against the clock, in memory of one piece.

    numpy says the same in two lines, at fifteen times the cost: it copies a mirrored image byte by byte.
    """
    shape = pixels.shape
    if hflip or vflip:
        pixels = cv2.flip(pixels, -1 if hflip and vflip else int(hflip)).reshape(shape)
    if turns and shape[2] <= 4:  # what OpenCV turns
        pixels = cv2.rotate(pixels, _TURNS[turns])
    elif turns:
        pixels = np.rot90(pixels, turns)
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], shape[2]))


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
