"""kNN while training goes on: cheap, and the first to show a collapse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rstrain.evals.features import extract
from rstrain.evals.knn import knn_votes
from shards.errors import ShardError
from shards.index import Index
from shards.random import permute, stream

_SUBSET = stream("evals/online/subset")


def online_knn(
    backbone: nn.Module,
    index: Index,
    *,
    train_rows: NDArray[np.int64],
    test_rows: NDArray[np.int64],
    mean: Sequence[float],
    std: Sequence[float],
    size: int,
    batch: int = 256,
    workers: int | None = 0,
    device: str | torch.device = "cpu",
    amp: bool = False,
    k: int = 20,
    temperature: float = 0.07,
    gallery: int = 4096,
    queries: int = 1024,
    seed: int = 0,
) -> float:
    """Top-1 percent of weighted kNN on a subset that the seed fixes, so that its curve has one meaning.

    Every rank must call it; all get the same number. Weights, buffers, training flags and generators stay as they are.

    Args:
        backbone: images -> features; may be training.
        index: labelled set.
        train_rows: gallery to take at most `gallery` rows of.
        test_rows: queries to take at most `queries` rows of.
        mean: as for `extract`.
        std: as for `extract`.
        size: side of the input, pixels.
        batch: images at a time.
        workers: processes that decode.
        device: where the backbone is.
        amp: bfloat16 autocast.
        k: neighbours; all of a gallery that has fewer.
        temperature: of the votes.
        gallery: rows at most.
        queries: rows at most.
        seed: of the subset.

    Raises:
        ShardError: a row without a label, or no rows.
    """
    column = index.column("label")
    if not len(train_rows) or not len(test_rows):
        raise ShardError(
            f"{index.store}: online kNN needs rows for its gallery and its queries; one has none"
        )
    chosen = [_subset(rows, limit, seed) for rows, limit in ((train_rows, gallery), (test_rows, queries))]
    label = [column[rows] for rows in chosen]
    if any(np.isnan(part.astype(np.float64)).any() for part in label):
        raise ShardError(f"{index.store}: online kNN needs a label on every view; some have none")
    features = [
        extract(
            backbone,
            index,
            rows,
            mean=mean,
            std=std,
            size=size,
            batch=batch,
            workers=workers,
            device=device,
            amp=amp,
        )
        for rows in chosen
    ]
    truth = [torch.from_numpy(part.astype(np.int64)).to(device) for part in label]
    votes, _ = knn_votes(
        features[0],
        truth[0],
        features[1],
        k=min(k, len(chosen[0])),
        temperature=temperature,
        classes=int(max(t.max() for t in truth)) + 1,
    )
    return float((votes.argmax(dim=1) == truth[1]).double().mean()) * 100.0


def _subset(rows: NDArray[np.int64], limit: int, seed: int) -> NDArray[np.int64]:
    if len(rows) <= limit:
        return rows
    return np.sort(rows[permute(np.arange(limit), len(rows), _SUBSET, seed)])
