"""Reading for evaluations: every row once, in the order given, resized and cut the same way each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rstrain.data.batch import empty_pixels
from rstrain.data.pixels import Pixels, Reader, resize, short_side
from rstrain.data.workers import read_ahead
from shards.index import Index
from shards.random import choice, stream

_TOP, _LEFT = stream("eval/top"), stream("eval/left")


class EvalData:
    """`data[i]` is the i-th batch: pixels [B, C, S, S] (channels last in memory) and rows int64 [B]."""

    def __init__(
        self,
        index: Index,
        rows: ArrayLike,
        *,
        size: int,
        batch: int,
        how: Literal["crop", "squash"] = "crop",
        random_crop: bool = False,
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        assert not (random_crop and how == "squash"), "a squashed image has nothing left to crop"
        self._rows = np.ascontiguousarray(rows, np.int64)
        self._reader = Reader(index)
        self._size, self._batch, self._how = size, batch, how
        self._random = (seed, epoch) if random_crop else None

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """The batch; the last one is shorter."""
        rows = self._rows[number * self._batch : (number + 1) * self._batch]
        side, bands = self._size, self._reader.bands
        pixels = empty_pixels(len(rows), side, side, bands, dtype=self._reader.dtype)
        out = pixels.numpy()
        for place, row in enumerate(rows.tolist()):
            out[place] = self._view(row)
        return pixels.permute(0, 3, 1, 2), torch.from_numpy(rows)

    def _view(self, row: int) -> Pixels:
        size = self._size
        height, width = int(self._reader.height[row]), int(self._reader.width[row])
        pixels = self._reader.read(row, shrink=max(1.0, min(height, width) / size))
        if self._how == "squash":
            return resize(pixels, size, size)
        pixels = short_side(pixels, height, width, size)
        spare = (pixels.shape[0] - size, pixels.shape[1] - size)
        if self._random is None:
            top, left = round(spare[0] / 2), round(spare[1] / 2)
        else:
            top, left = (
                int(choice(room + 1, axis, *self._random, row))
                for room, axis in zip(spare, (_TOP, _LEFT), strict=True)
            )
        return pixels[top : top + size, left : left + size]


def eval_loader(
    index: Index,
    rows: ArrayLike,
    *,
    size: int,
    batch: int = 256,
    workers: int | None = None,
    resize: Literal["crop", "squash"] = "crop",
    random_crop: bool = False,
    seed: int = 0,
    epoch: int = 0,
    device: str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Levels [B, C, S, S] (uint8, or float32 as `index.reading` says) and rows int64 [B]; no row depends on its batch.

    Args:
        index: the set.
        rows: which rows, in which order.
        size: side of a view, pixels.
        batch: rows a batch; the last is shorter.
        workers: processes that decode; None for as many as there are cores, at most 8.
        resize: `crop` brings the short side to `size` and takes the central square; `squash` ignores the aspect.
        random_crop: with `crop`, the square is drawn by (seed, epoch, row) instead: the training half of fMoW's
            linear probe (geography-aware-ssl, `main_lincls.py`).
        seed: of the random crop.
        epoch: of the random crop.
        device: a GPU gets pinned memory.

    Raises:
        ShardError: a damaged sample.
        ImageError: a sample that does not decode.
    """
    data = EvalData(
        index, rows, size=size, batch=batch, how=resize, random_crop=random_crop, seed=seed, epoch=epoch
    )
    return read_ahead(data, 0, len(data), workers=workers, pin=device.startswith("cuda"))
