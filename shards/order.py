"""The epoch as arithmetic: which sample stands at which position, without a list of samples.

Training reads one endless sequence. Position `p` lies in epoch `p // n`; within an epoch every sample stands exactly
once, in an order that depends on (seed, epoch) alone. A step takes the next `batch` positions over all ranks, so
every rank has the same number of steps whatever the counts, no sample is dropped at an epoch's end (a batch may
straddle it), and the state of the reader is one integer that means the same at any world size and worker count.

The order keeps shard locality: contiguous blocks of samples are permuted, and samples are permuted within windows of
blocks. At any moment reads fall into `window` blocks, which read-ahead and caches like; the mixing is that of a shuffle
buffer of `block * window` samples over a shuffled list of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shards.errors import ConfigError
from shards.random import permute, stream

_BLOCKS = stream("order/blocks")
_WINDOW = stream("order/window")


@dataclass(frozen=True)
class Order:
    """The seeded canonical order of `n` samples."""

    n: int
    """Samples in an epoch."""
    seed: int = 0
    block: int = 256
    """Samples that lie side by side in the shards and move together."""
    window: int = 64
    """Blocks that are mixed with each other."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError("the data set has no samples to read: choose another split or another folder")

    def at(self, position: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Epoch and sample number (0 … n-1) at each position (≥ 0)."""
        position = np.asarray(position, np.int64)
        epoch, place = np.divmod(position, self.n)
        sample = np.empty_like(place)
        for e in np.unique(epoch):
            here = epoch == e
            sample[here] = self._epoch(int(e), place[here])
        return epoch, sample

    def _epoch(self, epoch: int, place: NDArray[np.int64]) -> NDArray[np.int64]:
        place = self._mix_within_windows(epoch, place)
        blocks = -(-self.n // self.block)
        tail = self.n - (blocks - 1) * self.block  # the last block may be short: find where it went
        at = int(permute(blocks - 1, blocks, _BLOCKS, self.seed, epoch, inverse=True))
        after = place >= at * self.block + tail
        shifted = np.where(after, place + (self.block - tail), place)
        slot, offset = np.divmod(shifted, self.block)
        return permute(slot, blocks, _BLOCKS, self.seed, epoch) * self.block + offset

    def _mix_within_windows(self, epoch: int, place: NDArray[np.int64]) -> NDArray[np.int64]:
        size = self.block * self.window
        number, offset = np.divmod(place, size)
        out = np.empty_like(place)
        last = self.n // size  # a window shorter than the others, if any
        full = number < last
        out[full] = number[full] * size + permute(offset[full], size, _WINDOW, self.seed, epoch, number[full])
        rest = ~full
        out[rest] = last * size + permute(offset[rest], self.n - last * size, _WINDOW, self.seed, epoch, last)
        return out

    def step(self, step: int, batch: int, rank: int = 0, world: int = 1) -> NDArray[np.int64]:
        """Positions of one rank in one step; the ranks' slices laid end to end are the step's `batch` positions.

        Raises:
            ConfigError: the batch does not divide by the number of ranks.
        """
        if batch % world:
            raise ConfigError(
                f"batch={batch} does not divide by {world} ranks: use a multiple of {world}, for example "
                f"{max(1, round(batch / world)) * world}"
            )
        share = batch // world
        return step * batch + rank * share + np.arange(share, dtype=np.int64)
