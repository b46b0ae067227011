"""Scores of a classification: pure functions of labels, predictions and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shards.random import generator, stream

_BOOTSTRAP = stream("evals/bootstrap")


def confusion_matrix(
    truth: NDArray[np.int64], prediction: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts [C, C], rows are truth."""
    flat = np.bincount(truth * classes + prediction, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True)
class PerClass:
    """One number a class, [C] each; 0 where undefined."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    support: NDArray[np.int64]
    """Samples whose truth is the class."""
    present: NDArray[np.bool_]
    """Whether the class occurs in truth or prediction; the others have no part in a macro mean."""

    def macro(self) -> tuple[float, float, float]:
        """Precision, recall and F1, means over the classes present."""
        at = self.present
        if not at.any():
            return 0.0, 0.0, 0.0
        return float(self.precision[at].mean()), float(self.recall[at].mean()), float(self.f1[at].mean())


def per_class(confusion: NDArray[np.int64]) -> PerClass:
    """Precision, recall and F1 of each class."""
    right = np.diag(confusion).astype(np.float64)
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return PerClass(
        precision=_ratio(right, predicted),
        recall=_ratio(right, truth),
        f1=_ratio(2 * right, truth + predicted),
        support=truth,
        present=(truth + predicted) > 0,
    )


def _ratio(a: NDArray[np.float64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def top_k_hits(scores: NDArray[np.floating], truth: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    """Whether the true class is among the k best of scores [M, C], ties to the smaller class; -inf is never a hit."""
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    number = np.arange(scores.shape[1])
    ahead = (scores > own) | ((scores == own) & (number < truth[:, None]))
    hits: NDArray[np.bool_] = (ahead.sum(axis=1) < k) & np.isfinite(own[:, 0])
    return hits


def bootstrap_interval(
    hits: NDArray[np.bool_], place: NDArray[np.int64], *, seed: int, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the mean of `hits` [M], fraction; whole places are drawn, for their views are alike.

    Args:
        hits: whether each view was right.
        place: which place each view belongs to, any integers.
        seed: address of the draws.
        draws: resampled sets.
        level: share of draws inside the interval.
    """
    _, inverse = np.unique(place, return_inverse=True)
    size = np.bincount(inverse).astype(np.float64)
    right = np.bincount(inverse, weights=hits.astype(np.float64))
    random = generator(_BOOTSTRAP, seed)
    means = np.empty(draws)
    for i in range(draws):
        taken = random.integers(0, len(size), len(size))
        means[i] = right[taken].sum() / size[taken].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class TemporalVote:
    """One decision a place."""

    groups: list[str]
    """Places, sorted."""
    prediction: NDArray[np.int64]
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    """Sums over the views of a place, [P, C]."""


def temporal_vote(
    probabilities: NDArray[np.floating], groups: Sequence[str], labels: NDArray[np.int64]
) -> TemporalVote:
    """Sum the class probabilities [M, C] of all views of a place and take the largest (fMoW temporal protocol).

    The truth of a place is the label of its last view, as in geography-aware-ssl.
    """
    names, number = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    summed = np.zeros((len(names), probabilities.shape[1]), np.float64)
    np.add.at(summed, number, probabilities)
    truth = np.empty(len(names), np.int64)
    truth[number] = labels  # of repeated positions the last one stays
    return TemporalVote([str(name) for name in names], summed.argmax(axis=1), truth, summed)
