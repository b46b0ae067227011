"""The online kNN score: labels of the data judge the features while they are learnt, and take no part in learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from torch import nn

from rstrain.config import TrainConfig
from rstrain.distributed import World
from rstrain.evals.online import online_knn
from shards.errors import ConfigError
from shards.index import Index
from shards.random import choice, stream

_HALF = stream("engine/probe/half")


class Probe:
    """When to score, and on which rows: the gallery is the training split, the queries are `val` or `test`.

    Where neither is apart from what is trained on, its rows are halved by places, so that no query has its own place
    in the gallery.
    """

    def __init__(
        self,
        config: TrainConfig,
        index: Index,
        split: str | None,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.config, self.index = config, index
        self.mean, self.std = mean, std
        splits = index.column("split")
        own = np.flatnonzero(splits == split) if split else np.arange(len(index))
        self._every = int(config.knn_every * len(own)) // config.batch
        if config.knn_every == 0:
            return
        self._every = max(1, self._every)
        test = next((name for name in ("val", "test") if name != split and name in index.info.splits), None)
        if test:
            self.gallery, self.queries = own[splits[own] != test], np.flatnonzero(splits == test)
        if not test or not len(self.gallery):
            place, _ = index.places()
            query = choice(2, _HALF, config.seed, place[own]) == 1
            self.gallery, self.queries = own[~query], own[query]
        if index.table["label"].take(pa.array(np.concatenate([self.gallery, self.queries]))).null_count:
            raise ConfigError(
                f"--knn-every needs a label on each view; {index.store} has views without: use --knn-every 0"
            )

    def due(self, step: int) -> bool:
        """Whether a score belongs to the record of this step (1 is the first)."""
        return self._every > 0 and step % self._every == 0

    def score(self, encoder: nn.Module, world: World) -> float:
        """Top-1, percent; every rank must call it."""
        return online_knn(
            encoder,
            self.index,
            train_rows=self.gallery,
            test_rows=self.queries,
            mean=self.mean,
            std=self.std,
            size=self.config.input_px,
            device=world.device,
            amp=self.config.precision == "bf16",
            seed=self.config.seed,
        )
