"""Where land is: Natural Earth 1:110m land (public domain), as a mask and as lines for maps."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FILE = Path(__file__).parent / "ne_110m_land.npz"
CELL_DEG = 0.1
"""Side of a cell of the mask, degrees."""


@lru_cache(maxsize=1)
def coastlines() -> list[NDArray[np.float32]]:
    """Rings of [n, 2] lon, lat in degrees, closed; holes are rings too (even-odd rule).

    A ring that crosses the antimeridian is there twice, unbroken, and reaches past 180 or -180: clip when drawing.
    """
    with np.load(_FILE, allow_pickle=False) as data:
        points, starts = data["points"], data["starts"]
    # No starts[0] to drop when the first ring begins at 0: np.split would give an empty ring.
    rings = np.split(points, starts[starts > 0])
    return [part for ring in rings if len(ring) > 2 for part in _unbroken(ring)]


def _unbroken(ring: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    jumps = np.rint(np.diff(ring[:, 0].astype(np.float64)) / 360) * 360
    if not jumps.any():
        return [ring]
    shift = np.r_[0.0, np.cumsum(jumps)].astype(np.float32)
    ring = np.stack([ring[:, 0] - shift, ring[:, 1]], axis=1)
    if shift[-1]:  # it goes once round the pole: Antarctica; close it along the lower edge
        first, last = ring[0], ring[-1]
        pole = np.array([[last[0], -90], [first[0], -90], first], np.float32)
        ring = np.concatenate([ring, pole])
    turns = range(
        int(np.ceil((-180 - ring[:, 0].max()) / 360)), int(np.floor((180 - ring[:, 0].min()) / 360)) + 1
    )
    return [ring + np.array([360 * turn, 0], np.float32) for turn in turns]


@lru_cache(maxsize=1)
def land_mask() -> NDArray[np.uint8]:
    """1 on land, 0 at sea, uint8 [1800, 3600]; row 0 is 90° N, column 0 is 180° W. Read-only."""
    import cv2

    height, width = round(180 / CELL_DEG), round(360 / CELL_DEG)
    mask = np.zeros((height, width), np.uint8)
    scale = 1 << 8
    rings = []
    for ring in coastlines():
        # fillPoly puts integers at pixel centres, hence the half pixel.
        x = ((ring[:, 0].astype(np.float64) + 180) / CELL_DEG - 0.5) * scale
        y = ((90 - ring[:, 1].astype(np.float64)) / CELL_DEG - 0.5) * scale
        rings.append(np.rint(np.stack([x, y], 1)).astype(np.int32))
    cv2.fillPoly(mask, rings, 1, shift=8)
    mask[round((90 + 84.5) / CELL_DEG) :] = 1  # the ring of Antarctica does not reach the pole
    mask.setflags(write=False)
    return mask


def is_land(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.bool_]:
    """Whether each point (degrees; any longitude, latitude -90 to 90) is on land, to about 0.1°."""
    mask = land_mask()
    height, width = mask.shape
    column = np.floor((np.asarray(lon, np.float64) + 180) / CELL_DEG).astype(np.int64) % width
    row = np.floor((90 - np.asarray(lat, np.float64)) / CELL_DEG).astype(np.int64)
    found: NDArray[np.bool_] = mask[np.clip(row, 0, height - 1), column] > 0
    return found
