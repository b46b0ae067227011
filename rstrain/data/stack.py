"""Views of several members to one array: only what is wanted is read, as levels, on the grid of the view."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from shards.codec import ImageError, decode_bands, ending
from shards.dataset import DatasetInfo, Member
from shards.index import Index
from shards.raster import decode_raster
from shards.reading import Reading


class _Piece(NamedTuple):
    """What is taken of one member."""

    member: Member
    bands: list[int]
    """Positions in the member."""
    places: list[int]
    """Positions in the reading."""


class Stack:
    """Reads views whose bands lie in several members, such as one array a resolution (`shards/raster.py`).

    Bands on coarser grids are brought to that of the view linearly, pixels being areas, so that the ground stays where
    it is; nothing else in training resamples bands against each other.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._pieces = []
        for member in index.info.members:
            at = {band.name: place for place, band in enumerate(member.bands)}
            wanted = [(at[name], place) for place, name in enumerate(index.reading.bands) if name in at]
            if wanted:
                self._pieces.append(
                    _Piece(member, [band for band, _ in wanted], [place for _, place in wanted])
                )

    @staticmethod
    def fits(info: DatasetInfo) -> bool:
        """Whether the views of a set are stored so."""
        several = len(info.bands) > len(info.members[0].bands)
        return several or ending(info.members[0].ending) == "b2nd"

    def read(self, row: int, height: int, width: int) -> NDArray[Any]:
        """[height, width, bands of the reading], uint8 or float32.

        Raises:
            ShardError: damaged bytes, or a member is missing.
            ImageError: an array that is not as dataset.json declares.
        """
        data = self._index.read_parts(row, [piece.member.ending for piece in self._pieces])
        out: list[Any] = [None] * len(self._index.reading.bands)
        for piece in self._pieces:
            planes = _planes(piece.member, data[piece.member.ending], piece.bands)
            for plane, place in zip(planes, piece.places, strict=True):
                level = levels(plane, self._index.reading, place)
                if level.shape != (height, width):
                    level = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
                out[place] = level
        return np.stack(out, axis=-1)


def levels(plane: NDArray[Any], reading: Reading, place: int) -> NDArray[Any]:
    """One band as the reading wants it: stored numbers [H, W] to levels, uint8 or float32."""
    if not reading.low:
        return plane
    low, high = reading.low[place], reading.high[place]
    if not reading.whole:
        scale = np.float32(255 / (high - low))
        out: NDArray[Any] = (plane.astype(np.float32) - np.float32(low)) * scale
        return out
    if plane.dtype in (np.uint8, np.uint16):  # a table of every number is quicker than the arithmetic
        return np.asarray(_cut(np.arange(1 << 8 * plane.itemsize), low, high)[plane])
    return _cut(plane, low, high)


def _cut(numbers: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    level = (numbers.astype(np.float64) - low) / (high - low) * 255
    return np.nan_to_num(level).clip(0, 255).astype(np.uint8)


def _planes(member: Member, data: bytes, bands: list[int]) -> NDArray[Any]:
    """Some bands of a member, [C, H, W], as dataset.json declares it."""
    if ending(member.ending) == "b2nd":
        planes = decode_raster(data, bands)
    else:
        planes = decode_bands(member.ending, data, len(member.bands)).transpose(2, 0, 1)[bands]
    found = (planes.shape[1], planes.shape[2])
    wrong = any(side not in (None, got) for side, got in zip(member.shape[:2], found, strict=True))
    if wrong or planes.dtype.name != member.dtype:
        raise ImageError(
            f"{found[0]} x {found[1]} {planes.dtype} pixels in .{member.ending}; dataset.json declares "
            f"{member.shape[0]} x {member.shape[1]} {member.dtype}"
        )
    return planes
