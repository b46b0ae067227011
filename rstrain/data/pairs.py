"""Which views of a place become the views of a training sample."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shards.index import Index
from shards.random import choice, stream

_PARTNER = stream("data/partner")
_SEASON = stream("data/season")


class Pairs:
    """Every row is the query once an epoch; its partners are drawn by address, so nothing is filtered or stored.

    `temporal` draws uniformly among the other views of the place, and takes the image itself where there is none
    (geography-aware SSL, section 3.2 and the authors' `fmow_dataloader.py`). A place thus weighs by its views.
    `seasons` makes four views of three dates t0, t1, t2 of a place: t0, t1, t2, t0 (SeCo, section 3.2). t0 is the query;
    t1 and t2 are drawn with replacement among all dates, as the authors draw them.
    """

    def __init__(self, index: Index, kind: Literal["self", "temporal", "seasons"], seed: int) -> None:
        self.kind = kind
        self.seed = seed
        self._first, self._count = index.places()

    @property
    def alone(self) -> int:
        """Rows that have no other view of their place."""
        return int((self._count == 1).sum())

    def rows(self, epoch: NDArray[np.int64], query: NDArray[np.int64], views: int) -> NDArray[np.int64]:
        """Row of each view, [V, B]; the first are the queries themselves."""
        out = np.repeat(query[None], views, axis=0)
        if self.kind == "temporal" and views > 1:
            first, others = self._first[query], self._count[query] - 1
            view = np.arange(1, views)[:, None]
            drawn = first + choice(np.maximum(others, 1), _PARTNER, self.seed, epoch, query, view)
            out[1:] = np.where(others > 0, drawn + (drawn >= query), query)
        if self.kind == "seasons":
            assert views == 4
            date = np.arange(1, 3)[:, None]
            out[1:3] = self._first[query] + choice(self._count[query], _SEASON, self.seed, epoch, query, date)
        return out
