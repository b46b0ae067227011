"""What an evaluation got wrong, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from rstrain.data.pixels import Reader, resize
from rstrain.evals.scores import Mistake
from rstrain.evals.splits import Split
from shards.codec import encode_png

_SIDE, _TEXT, _GAP, _COLUMNS = 144, 44, 6, 6


def mistakes_strip(split: Split, mistakes: Sequence[Mistake]) -> bytes | None:
    """A PNG of the surest mistakes, the class that was found above the true one; None where there are none."""
    if not mistakes:
        return None
    reader, bands = Reader(split.index), _shown(split)
    rows = -(-len(mistakes) // _COLUMNS)
    columns = min(_COLUMNS, len(mistakes))
    cell_h, cell_w = _SIDE + _TEXT + _GAP, _SIDE + _GAP
    sheet = np.full((rows * cell_h + _GAP, columns * cell_w + _GAP, 3), 255, np.uint8)
    for number, mistake in enumerate(mistakes):
        top, left = _GAP + number // _COLUMNS * cell_h, _GAP + number % _COLUMNS * cell_w
        pixels = reader.read(mistake.row)[..., bands]
        square = resize(np.ascontiguousarray(pixels), _SIDE, _SIDE)
        sheet[top : top + _SIDE, left : left + _SIDE] = np.clip(np.rint(square), 0, 255).astype(np.uint8)
        _write(
            sheet,
            top + _SIDE + 16,
            left,
            f"{mistake.confidence_percent:.0f}% {mistake.found}",
            (176, 32, 32),
        )
        _write(sheet, top + _SIDE + 34, left, f"is {mistake.truth}", (40, 40, 40))
    return encode_png(sheet)


def _shown(split: Split) -> list[int]:
    """Positions of red, green and blue in what is read; else the first band three times."""
    read = list(split.index.reading.bands)
    names = split.index.info.rgb
    if names is not None and set(names) <= set(read):
        return [read.index(name) for name in names]
    return [0, 0, 0]


def _write(sheet: NDArray[np.uint8], bottom: int, left: int, text: str, color: tuple[int, int, int]) -> None:
    """A line of at most the width of a picture; letters beyond ASCII become question marks."""
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.4
    plain = text.encode("ascii", "replace").decode()
    while plain and cv2.getTextSize(plain, font, size, 1)[0][0] > _SIDE:
        plain = plain[:-1]
    cv2.putText(sheet, plain, (left, bottom), font, size, color, 1, cv2.LINE_AA)
