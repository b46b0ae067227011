"""What archives of changes share: tiles of a pair, and masks of 0 (no change) and 1."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsdata.sources.base import FetchError
from shards.codec import MAX_PIXELS, ImageError, decode, header
from shards.failures import FailureClass

CLASSES = ["no change", "change"]


class Tile(NamedTuple):
    """A square of an image; at the border some of it may lie outside."""

    row: int
    column: int
    top: int
    left: int


def tiles(height: int, width: int, side: int, *, whole_only: bool) -> Iterator[Tile]:
    """Tiles that do not overlap, row by row; with `whole_only` without those that the border cuts."""
    for row, top in enumerate(range(0, height, side)):
        for column, left in enumerate(range(0, width, side)):
            if not whole_only or (top + side <= height and left + side <= width):
                yield Tile(row, column, top, left)


def change_mask(name: str, data: bytes, *, one_is_change: bool = True) -> NDArray[np.uint8]:
    """The mask [H, W] of a file with 0 for no change and 1 or 255 for change; else with 1 for no change and 2.

    Raises:
        FetchError: it does not decode, is too large, its bands differ, or it has other values.
    """
    try:
        facts = header(data, sys.maxsize)
        if facts.width * facts.height > MAX_PIXELS:
            what = f"{name}: {facts.width} x {facts.height} px is more than {MAX_PIXELS:,} pixels"
            raise FetchError(FailureClass.REFUSED, what, "check")
        values = np.asarray(decode(name.lower(), data))
    except ImageError as error:
        raise FetchError(FailureClass.INVALID, f"{name}: {error}", "check") from None
    if values.ndim == 3:
        if values.shape[2] == 4:
            values = values[..., :3]  # beside an alpha that says nothing
        if (values != values[..., :1]).any():
            raise FetchError(FailureClass.INVALID, f"{name}: a coloured picture; expected a mask", "check")
        values = values[..., 0]
    known = (0, 1, 255) if one_is_change else (1, 2)
    found = np.unique(values)
    if not np.isin(found, known).all():
        raise FetchError(
            FailureClass.INVALID, f"{name}: has values {found[:5].tolist()}; a mask has {known} only", "check"
        )
    return np.asarray(values != (0 if one_is_change else 1), np.uint8)
