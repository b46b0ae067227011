"""Which shards of a remote set are read next: the order is arithmetic, so they are known and fetched before they are asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shards.cache import Fetcher, ShardCache
from shards.errors import ConfigError
from shards.index import Index
from shards.order import Order

_LOOKS = 8
"""In the time in which a window of the order is read."""


def ahead(index: Index, rows: NDArray[np.int64], order: Order, batch: int) -> Ahead | None:
    """Of some rows of an index, in the order of their positions; None where there is no cache.

    Raises:
        ConfigError: the cache is too small for the order.
    """
    return None if index.cache is None else Ahead(index.take(rows), index.cache, order, batch)


class Ahead:
    """Keeps the shards of the window that is read, and of the next as far as there is room, in the cache."""

    def __init__(self, index: Index, cache: ShardCache, order: Order, batch: int) -> None:
        self._index, self._cache, self._order, self._batch = index, cache, order, batch
        self._span = order.block * order.window
        self._looked: int | None = None
        self._fetcher: Fetcher | None = None
        blocks = np.sort(index.block_bytes(order.block))[::-1]
        least = min(int(blocks[: order.window].sum()), sum(shard.bytes for shard in index.info.shards))
        if least > cache.limit:
            raise ConfigError(
                f"--cache-gb {cache.limit / 1e9:g}: reading is mixed over shards of {least / 1e9:.3f} GB at a time, and a "
                f"smaller cache would fetch them again and again; use --cache-gb {least / 1e9 * 1.05:.3f} or more"
            )

    def at(self, step: int) -> None:
        """A step is read now."""
        position = step * self._batch
        if self._looked is not None and 0 <= position - self._looked < self._span // _LOOKS:
            return
        self._looked = position
        _, rows = self._order.at(np.arange(position, position + self._span))
        if self._fetcher is None:  # in the process that reads
            self._fetcher = Fetcher(self._cache, self._index.store)
        self._fetcher.want(self._index.shards_of(rows))
