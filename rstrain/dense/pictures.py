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
_GAP, _LINE = 4, 20
_FONT = (cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
Rgb = tuple[int, int, int]


def rgb_of(index: Index, pixels: NDArray[Any]) -> Picture:
    """Levels [H, W, C] as a picture [H, W, 3]: red, green and blue where the set has them, else its first band."""
    names = list(index.reading.bands)
    rgb = index.info.rgb
    if rgb is not None and set(rgb) <= set(names):
        chosen = [names.index(name) for name in rgb]
    else:
        chosen = [0, 1, 2] if len(names) == 3 else [0, 0, 0]
    return np.ascontiguousarray(pixels[..., chosen].clip(0, 255).astype(np.uint8))


def colour(label: int) -> Rgb:
    """A colour of a class; neighbours in the list are far apart."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.61803 % 1.0, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def legend_of(classes: Sequence[str], *, masks: bool) -> list[tuple[str, Rgb]]:
    """Name and colour of each class, as boxes or as masks have them."""
    return [
        (name, (0, 0, 0) if masks and label == 0 else colour(label)) for label, name in enumerate(classes)
    ]


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


def save(
    path: Path, rows: Sequence[Sequence[Picture]], titles: Sequence[str], legend: Sequence[tuple[str, Rgb]]
) -> None:
    """Rows of tiles as one PNG on white, with a title over each column and the colours of the classes below."""
    cell = SIDE + _GAP
    width = cell * len(titles) + _GAP
    sheet = np.full((_LINE + cell * len(rows) + _GAP, width, 3), 255, np.uint8)
    for x, title in enumerate(titles):
        _write(sheet, title, _GAP + x * cell, 0)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            top, left = _LINE + y * cell, _GAP + x * cell
            sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    Store(path.parent).write(path.name, encode_png(np.concatenate([sheet, _legend(legend, width)])))


def _legend(entries: Sequence[tuple[str, Rgb]], width: int) -> Picture:
    """A square of its colour before each name, in as many lines as it takes."""
    places, left, line = [], _GAP, 0
    for name, rgb in entries:
        room = 2 * _LINE + cv2.getTextSize(name, *_FONT)[0][0]
        if left > _GAP and left + room > width:
            left, line = _GAP, line + 1
        places.append((name, rgb, left, line * _LINE))
        left += room
    out = np.full(((line + 1) * _LINE if places else 0, width, 3), 255, np.uint8)
    for name, rgb, left, top in places:
        cv2.rectangle(out, (left, top + 4), (left + 11, top + 15), rgb, cv2.FILLED)
        _write(out, name, left + _LINE, top)
    return out


def _write(out: Picture, text: str, left: int, top: int) -> None:
    font, scale, thick = _FONT
    cv2.putText(out, text, (left, top + _LINE - 6), font, scale, (0, 0, 0), thick, cv2.LINE_AA)
