"""Mirrors and turns of images, boxes and masks together, each drawn at the address (seed, epoch, row)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstrain.evals.dense_config import DenseConfig
from shards.random import choice, stream, uniform

_FLIPS, _TURNS = stream("dense/flips"), stream("dense/turns")


@dataclass(frozen=True)
class Turn:
    """Mirror left and right, then top and bottom, then turn by quarters, against the clock."""

    hflip: bool = False
    vflip: bool = False
    quarters: int = 0

    def image(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """[H, W, ...] turned; a view where it can be."""
        if self.hflip:
            pixels = pixels[:, ::-1]
        if self.vflip:
            pixels = pixels[::-1]
        return np.rot90(pixels, self.quarters)

    def boxes(self, boxes: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
        """[N, 4] left, top, right, bottom of an image of this size, turned as it."""
        left, top, right, bottom = boxes.T
        if self.hflip:
            left, right = width - right, width - left
        if self.vflip:
            top, bottom = height - bottom, height - top
        for _ in range(self.quarters):
            left, top, right, bottom = top, width - right, bottom, width - left
            height, width = width, height
        return np.stack((left, top, right, bottom), axis=1).astype(np.float32)


def draw(config: DenseConfig, seed: int, epoch: int, row: int) -> Turn:
    """The turn of a training image."""
    across, down = uniform(_FLIPS, seed, epoch, row, count=2)
    quarters = int(choice(4, _TURNS, seed, epoch, row)) if config.turns else 0
    return Turn(bool(across < config.hflip), bool(down < config.vflip), quarters)
