"""Images with their boxes: for training mirrored and turned together, for scoring as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstrain.data.ahead import ahead
from rstrain.data.pixels import Reader
from rstrain.dense.geometry import draw
from rstrain.evals.dense_config import DetectConfig
from shards.errors import ShardError
from shards.index import Index
from shards.order import Order
from shards.targets import BOXES, Box, decode_boxes, sample_members


@dataclass(frozen=True)
class Boxed:
    """One image and what is in it."""

    row: int
    pixels: NDArray[Any]
    """Levels [C, H, W], uint8 or float32."""
    boxes: NDArray[np.float32]
    """[N, 4] left, top, right, bottom, pixels."""
    labels: NDArray[np.int64]
    """[N], from 0."""
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    masks: NDArray[np.uint8] | None
    """[N, H, W] of 0 and 1, where outlines are wanted."""

    def truth(self) -> Boxed:
        """Without crowds: what a detector is taught."""
        kept = ~self.crowd
        masks = None if self.masks is None else self.masks[kept]
        return replace(
            self,
            boxes=self.boxes[kept],
            labels=self.labels[kept],
            crowd=self.crowd[kept],
            difficult=self.difficult[kept],
            masks=masks,
        )


class BoxReader:
    """Rows of an index as `Boxed`."""

    def __init__(self, index: Index, *, masks: bool) -> None:
        self.index = index
        self._reader = Reader(index)
        self._masks = masks
        self._classes = next(len(target.classes) for target in index.info.targets if target.member == BOXES)

    def boxes(self, row: int) -> list[Box]:
        """The boxes of a row.

        Raises:
            ShardError: it has none, not even an empty list.
        """
        members = sample_members(self.index, row)
        if BOXES not in members:
            raise ShardError(
                f"{self.index.store}: sample {self.index.keys([row])[0]} has no member {BOXES}; run: rsdata verify "
                f"{self.index.store}"
            )
        return decode_boxes(members[BOXES])

    def read(self, row: int) -> Boxed:
        """Pixels and boxes of a row.

        Raises:
            ShardError: no boxes, or one without area, outside of the image or of a class that dataset.json does not name.
        """
        boxes = self.boxes(row)
        pixels = self._reader.read(row)
        for box in boxes:
            try:
                box.check(pixels.shape[1], pixels.shape[0], self._classes)
            except ShardError as error:
                raise ShardError(f"{self.index.store}: sample {self.index.keys([row])[0]}: {error}") from None
        corners = [(box.left, box.top, box.right, box.bottom) for box in boxes]
        return Boxed(
            row,
            np.ascontiguousarray(pixels.transpose(2, 0, 1)),
            np.asarray(corners, np.float32).reshape(-1, 4),
            np.asarray([box.label for box in boxes], np.int64),
            np.asarray([box.crowd for box in boxes], bool),
            np.asarray([box.difficult for box in boxes], bool),
            self._rasterised(row, boxes, pixels.shape[0], pixels.shape[1]) if self._masks else None,
        )

    def _rasterised(self, row: int, boxes: Sequence[Box], height: int, width: int) -> NDArray[np.uint8]:
        for box in boxes:
            if not box.rings:
                raise ShardError(
                    f"{self.index.store}: sample {self.index.keys([row])[0]} has a box without an outline, which "
                    "mask-rcnn learns from: choose another --model"
                )
        return rasterise(boxes, height, width)


def rasterise(boxes: Sequence[Box], height: int, width: int) -> NDArray[np.uint8]:
    """Pixels whose centre lies in an object's outlines, [N, height, width] of 0 and 1."""
    from rasterio.features import rasterize

    out = np.zeros((len(boxes), height, width), np.uint8)
    for mask, box in zip(out, boxes, strict=True):
        rings = [list(ring) for ring in box.rings if len(ring) >= 3]
        shapes = [{"type": "Polygon", "coordinates": [[*ring, ring[0]]]} for ring in rings]
        if shapes:
            mask[:] = rasterize(shapes, out_shape=(height, width), dtype="uint8")
    return out


class BoxSteps:
    """`data[step]` is one rank's share of a training step, without crowds."""

    def __init__(
        self,
        config: DetectConfig,
        reader: BoxReader,
        rows: NDArray[np.int64],
        *,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        self._config, self._reader, self._rows = config, reader, rows
        self._order = Order(len(rows), seed)
        self._ahead = ahead(reader.index, rows, self._order, config.train_batch)
        self._seed, self._rank, self._world = seed, rank, world

    def __getitem__(self, step: int) -> list[Boxed]:
        """The images of a step, mirrored and turned."""
        if self._ahead is not None:
            self._ahead.at(step)
        positions = self._order.step(step, self._config.train_batch, self._rank, self._world)
        epochs, numbers = self._order.at(positions)
        return [
            self._turned(int(self._rows[number]), int(epoch))
            for epoch, number in zip(epochs, numbers, strict=True)
        ]

    def _turned(self, row: int, epoch: int) -> Boxed:
        own = self._reader.read(row).truth()
        turn = draw(self._config, self._seed, epoch, row)
        _, height, width = own.pixels.shape
        masks = own.masks
        if masks is not None:
            masks = np.ascontiguousarray(turn.image(masks.transpose(1, 2, 0)).transpose(2, 0, 1))
        return replace(
            own,
            pixels=np.ascontiguousarray(turn.image(own.pixels.transpose(1, 2, 0)).transpose(2, 0, 1)),
            boxes=turn.boxes(own.boxes, height, width),
            masks=masks,
        )


class BoxBatches:
    """`data[i]` is the i-th batch of rows as they are."""

    def __init__(self, reader: BoxReader, batches: Sequence[NDArray[np.int64]]) -> None:
        self._reader, self._batches = reader, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> list[Boxed]:
        """Its images, crowds included."""
        return [self._reader.read(int(row)) for row in self._batches[number]]


def alike(index: Index, rows: NDArray[np.int64], batch: int) -> list[NDArray[np.int64]]:
    """`rows` in their order, cut where the size of the images changes and after every `batch`.

    Images of one size are padded alike, so what a network says of one does not depend on its neighbours.
    """
    if not len(rows):
        return []
    sizes = np.stack((index.column("height")[rows], index.column("width")[rows]), axis=1)
    starts = np.flatnonzero(np.r_[True, (sizes[1:] != sizes[:-1]).any(axis=1)])
    runs = np.split(rows, starts[1:])
    return [run[at : at + batch] for run in runs for at in range(0, len(run), batch)]


def own_share(count: int, rank: int, world: int) -> NDArray[np.int64]:
    """The contiguous part of 0 … count-1 that a rank scores; the last ranks may have less, or nothing."""
    share = -(-count // world)
    return np.arange(rank * share, min((rank + 1) * share, count), dtype=np.int64)
