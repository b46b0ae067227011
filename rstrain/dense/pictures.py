"""A sheet of test images: truth beside prediction."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shards.codec import encode_png
from shards.index import Index
from shards.store import Store
from shards.targets import IGNORE

Picture = NDArray[np.uint8]
SIDE = 256
"""Longest side of a tile, pixels."""
_GAP = 4


def rgb_of(index: Index, pixels: NDArray[Any]) -> Picture:
    """Levels [H, W, C] as a picture [H, W, 3]: red, green and blue where the set has them, else its first band."""
    names = list(index.reading.bands)
    rgb = index.info.rgb
    if rgb is not None and set(rgb) <= set(names):
        chosen = [names.index(name) for name in rgb]
    else:
        chosen = [0, 1, 2] if len(names) == 3 else [0, 0, 0]
    return np.ascontiguousarray(pixels[..., chosen].clip(0, 255).astype(np.uint8))


def colour(label: int) -> tuple[int, int, int]:
    """A colour of a class; neighbours in the list are far apart."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.61803 % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def with_boxes(picture: Picture, boxes: NDArray[np.floating], labels: Sequence[int]) -> Picture:
    """A tile with outlined boxes [N, 4], one colour a class."""
    tile, factor = _fitted(picture, cv2.INTER_AREA)
    for box, label in zip(boxes, labels, strict=True):
        left, top, right, bottom = (round(float(x) * factor) for x in box)
        cv2.rectangle(tile, (left, top), (right - 1, bottom - 1), colour(label), 1)
    return tile


def of_mask(mask: NDArray[np.integer]) -> Picture:
    """Classes [H, W] as a tile of colours; class 0 is black, what is ignored is grey."""
    table = np.zeros((256, 3), np.uint8)
    table[1:] = [colour(label) for label in range(1, 256)]
    table[IGNORE] = 128
    return _fitted(table[mask], cv2.INTER_NEAREST)[0]


def plain(picture: Picture) -> Picture:
    """A tile of the picture as it is."""
    return _fitted(picture, cv2.INTER_AREA)[0]


def _fitted(picture: Picture, how: int) -> tuple[Picture, float]:
    factor = SIDE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    if factor > 1:
        how = cv2.INTER_NEAREST
    return np.ascontiguousarray(cv2.resize(np.ascontiguousarray(picture), size, interpolation=how)), factor


def chosen(count: int, wanted: int) -> NDArray[np.int64]:
    """Positions of at most `wanted` of `count` images, spread evenly."""
    most = min(count, wanted)
    return np.arange(most, dtype=np.int64) * count // max(most, 1)


def save(path: Path, rows: Sequence[Sequence[Picture]]) -> None:
    """Rows of tiles as one PNG on white."""
    columns = len(rows[0])
    cell = SIDE + _GAP
    sheet = np.full((cell * len(rows) + _GAP, cell * columns + _GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            top, left = _GAP + y * cell, _GAP + x * cell
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    Store(path.parent).write(path.name, encode_png(sheet))
