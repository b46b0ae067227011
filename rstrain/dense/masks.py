"""Images (one, or two dates of a place) with a class for each pixel: crops for training, whole for scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rstrain.data.ahead import ahead
from rstrain.data.pixels import Reader, resize
from rstrain.dense.geometry import draw
from rstrain.evals.dense_config import DenseConfig
from shards.errors import ShardError
from shards.index import Index
from shards.order import Order
from shards.random import stream, uniform
from shards.targets import IGNORE, MASK, decode_mask, sample_members

_SCALE, _CROP = stream("dense/scale"), stream("dense/crop")
_TRIES = 10


class Masked(NamedTuple):
    """One place."""

    row: int
    """Of its first view."""
    images: tuple[NDArray[Any], ...]
    """Levels [H, W, C] of each date."""
    mask: NDArray[np.uint8]
    """[H, W], 255 is ignored."""


class MaskBatch(NamedTuple):
    """What a step or a batch of equal sizes is made of."""

    rows: NDArray[np.int64]
    images: tuple[NDArray[Any], ...]
    """Levels [B, C, H, W] of each date."""
    masks: NDArray[np.uint8]
    """[B, H, W]."""


@dataclass(frozen=True)
class Cropping:
    """How a training image is cut."""

    side: int
    scale_low: float = 1.0
    scale_high: float = 1.0
    most_of_one: float = 1.0


class MaskReader:
    """Places of an index; each must have `dates` views and a mask of their size."""

    def __init__(self, index: Index, *, dates: int, classes: int) -> None:
        self.index = index
        self._reader = Reader(index)
        self._dates, self._classes = dates, classes
        first, count = index.places()
        wrong = np.flatnonzero(count != dates)
        if len(wrong):
            raise ShardError(
                f"{index.store}: sample {index.keys(wrong[:1])[0]} has {count[wrong[0]]} views; this evaluation needs "
                f"{'one image' if dates == 1 else 'two dates'} of each place"
            )
        self.rows: NDArray[np.int64] = np.unique(first)
        """First row of each place."""

    def mask(self, row: int) -> NDArray[np.uint8]:
        """The mask of a place, [H, W].

        Raises:
            ShardError: it has none, or a class that dataset.json does not name.
        """
        members = sample_members(self.index, row)
        if MASK not in members:
            raise ShardError(
                f"{self._where(row)} has no member {MASK}; run: rsdata verify {self.index.store}"
            )
        mask = decode_mask(members[MASK])
        if ((mask >= self._classes) & (mask != IGNORE)).any():
            raise ShardError(
                f"{self._where(row)}: its mask holds {mask[mask != IGNORE].max()}, and there are {self._classes} classes"
            )
        return mask

    def read(self, row: int) -> Masked:
        """Pixels and mask of a place.

        Raises:
            ShardError: a mask of another size, or see `mask`.
        """
        mask = self.mask(row)
        images = tuple(self._reader.read(row + date) for date in range(self._dates))
        if any(image.shape[:2] != mask.shape for image in images):
            raise ShardError(
                f"{self._where(row)}: images and mask differ in size; run: rsdata verify {self.index.store}"
            )
        return Masked(row, images, mask)

    def _where(self, row: int) -> str:
        return f"{self.index.store}: sample {self.index.keys([row])[0]}"


class MaskSteps:
    """`data[step]` is one rank's share of a training step: crops of one size, resized, mirrored and turned."""

    def __init__(
        self, config: DenseConfig, cropping: Cropping, reader: MaskReader, *, seed: int, rank: int, world: int
    ) -> None:
        self._config, self._cropping, self._reader = config, cropping, reader
        self._order = Order(len(reader.rows), seed)
        self._ahead = ahead(reader.index, reader.rows, self._order, config.train_batch)
        self._seed, self._rank, self._world = seed, rank, world

    def __getitem__(self, step: int) -> MaskBatch:
        """The crops of a step."""
        if self._ahead is not None:
            self._ahead.at(step)
        positions = self._order.step(step, self._config.train_batch, self._rank, self._world)
        epochs, numbers = self._order.at(positions)
        return stacked(
            [
                self._cut(int(self._reader.rows[number]), int(epoch))
                for epoch, number in zip(epochs, numbers, strict=True)
            ]
        )

    def _cut(self, row: int, epoch: int) -> Masked:
        place = self._reader.read(row)
        images, mask = scaled(place.images, place.mask, self._factor(epoch, row))
        side = self._cropping.side
        images = tuple(padded(image, side, 0) for image in images)
        mask = padded(mask, side, IGNORE)
        top, left = self._corner(mask, epoch, row)
        turn = draw(self._config, self._seed, epoch, row)
        part = (slice(top, top + side), slice(left, left + side))
        return Masked(row, tuple(turn.image(image[part]) for image in images), turn.image(mask[part]))

    def _factor(self, epoch: int, row: int) -> float:
        low, high = self._cropping.scale_low, self._cropping.scale_high
        return low + (high - low) * float(uniform(_SCALE, self._seed, epoch, row, count=1)[0])

    def _corner(self, mask: NDArray[np.uint8], epoch: int, row: int) -> tuple[int, int]:
        """Top and left of a crop that no class fills beyond the share allowed, or of the last try."""
        side = self._cropping.side
        spare = np.array([mask.shape[0] - side + 1, mask.shape[1] - side + 1])
        top = left = 0
        for draws in uniform(_CROP, self._seed, epoch, row, count=2 * _TRIES).reshape(_TRIES, 2):
            top, left = (int(at) for at in draws * spare)
            part = mask[top : top + side, left : left + side]
            counts = np.bincount(part[part != IGNORE].ravel())
            if counts.sum() and counts.max() <= self._cropping.most_of_one * counts.sum():
                break
        return top, left


class MaskBatches:
    """`data[i]` is the i-th batch of places of one size, as they are."""

    def __init__(self, reader: MaskReader, batches: Sequence[NDArray[np.int64]]) -> None:
        self._reader, self._batches = reader, batches

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, number: int) -> MaskBatch:
        """Its places."""
        return stacked([self._reader.read(int(row)) for row in self._batches[number]])


def scaled(
    images: tuple[NDArray[Any], ...], mask: NDArray[np.uint8], factor: float
) -> tuple[tuple[NDArray[Any], ...], NDArray[np.uint8]]:
    """Images resized by areas or linearly, the mask by its nearest pixel."""
    height, width = (max(1, round(side * factor)) for side in mask.shape)
    if (height, width) == mask.shape:
        return images, mask
    rows = (np.arange(height) + 0.5) * mask.shape[0] // height
    cols = (np.arange(width) + 0.5) * mask.shape[1] // width
    return tuple(resize(image, height, width) for image in images), mask[
        np.ix_(rows.astype(int), cols.astype(int))
    ]


def padded(pixels: NDArray[Any], side: int, value: int) -> NDArray[Any]:
    """[H, W, ...] grown to at least `side` at the bottom and on the right."""
    below, beside = (max(0, side - n) for n in pixels.shape[:2])
    if not below and not beside:
        return pixels
    return np.pad(pixels, ((0, below), (0, beside), *((0, 0),) * (pixels.ndim - 2)), constant_values=value)


def stacked(places: Sequence[Masked]) -> MaskBatch:
    """Places of one size as one batch."""
    dates = len(places[0].images)
    return MaskBatch(
        np.array([place.row for place in places], np.int64),
        tuple(np.stack([place.images[date].transpose(2, 0, 1) for place in places]) for date in range(dates)),
        np.stack([place.mask for place in places]),
    )
