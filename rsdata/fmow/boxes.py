"""The box of a view with its context, as the fMoW baseline cuts it out."""

from __future__ import annotations

from typing import Literal

_CONTEXT = ((0.5, 0.15), (0.4, 0.2), (0.3, 0.3), (0.2, 0.5), (0.1, 1.0), (0.0, 2.0))
"""Box side over image side, from which on: padding of both sides together, as a share of the box side."""


def with_context(
    box: list[float] | None, width: int, height: int, *, axes: Literal["correct", "baseline"] = "correct"
) -> tuple[int, int, int, int]:
    """A box with its context: the smaller the object, the wider (fMoW baseline, dataFunctions.py:160-225).

    Args:
        box: left, top, width, height in pixels.
        width: of the image, pixels.
        height: of the image, pixels.
        axes: `baseline` takes the image's height for the width of the box and the other way round.

    Returns:
        Left, top, right, bottom, clamped to the image.

    Raises:
        ValueError: no box, one of at most two pixels, or one off the image.
    """
    if box is None or len(box) != 4:
        raise ValueError(f"no box of four numbers in the metadata (found {box!r})")
    left, top, box_width, box_height = (int(number) for number in box)
    if box_width <= 2 or box_height <= 2:
        raise ValueError(f"the box is {box_width} x {box_height} px; at least 3 are needed")
    across, along = (width, height) if axes == "correct" else (height, width)
    pad_x = int(box_width * _share(box_width / across) / 2)
    pad_y = int(box_height * _share(box_height / along) / 2)
    x0, x1 = max(0, left - pad_x), min(width, left + box_width + pad_x)
    y0, y1 = max(0, top - pad_y), min(height, top + box_height + pad_y)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"the box {box} lies outside of the image of {width} x {height} px")
    return x0, y0, x1, y1


def _share(ratio: float) -> float:
    return next(share for least, share in _CONTEXT if ratio >= least)
