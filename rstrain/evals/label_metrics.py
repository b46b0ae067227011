"""Scores of several classes an image: average precision and F1 on the whole split, pure functions of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.random import generator, stream

_BOOTSTRAP = stream("evals/labels/bootstrap")

Truth = NDArray[Any]
"""0 and 1, [M, C]."""
Values = NDArray[np.floating]


@dataclass(frozen=True)
class Ranked:
    """Answers from the most to the least certain, so that any weights of the samples give a precision-recall curve."""

    sample: NDArray[np.int64]
    positive: NDArray[np.bool_]
    last: NDArray[np.int64]
    """Where each run of equal values ends."""

    @classmethod
    def of(cls, truth: Truth, values: Values) -> Ranked:
        """All answers of [M, C] in one row (micro), or those of one class [M]."""
        samples = np.arange(len(truth))
        if truth.ndim == 2:
            samples = np.repeat(samples, truth.shape[1])
        order = np.argsort(-values.ravel(), kind="stable")
        ordered = values.ravel()[order]
        last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
        return cls(samples[order], truth.ravel()[order] > 0, last)

    def average_precision(self, weight: NDArray[np.float64] | None = None) -> float:
        """Sum over thresholds of precision times the rise of recall; equal values are one threshold. NaN without positives.

        `weight` [M] counts each sample so often.
        """
        counted = np.ones(len(self.sample)) if weight is None else weight[self.sample]
        hits = np.cumsum(np.where(self.positive, counted, 0.0))[self.last]
        answers = np.cumsum(counted)[self.last]
        if hits[-1] == 0:
            return float("nan")
        precision = np.divide(hits, answers, out=np.zeros_like(hits), where=answers > 0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])


def micro_ap(truth: Truth, values: Values) -> float:
    """Average precision of all answers in one row, fraction."""
    return Ranked.of(truth, values).average_precision()


def class_ap(truth: Truth, values: Values) -> NDArray[np.float64]:
    """Average precision of each class [C]; NaN for those that no sample has."""
    return np.array([Ranked.of(truth[:, c], values[:, c]).average_precision() for c in range(truth.shape[1])])


def micro_ap_interval(
    truth: Truth,
    values: Values,
    place: NDArray[np.int64],
    *,
    seed: int,
    draws: int = 200,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval of `micro_ap`; whole places are drawn, as for top-1."""
    ranked = Ranked.of(truth, values)
    number = np.unique(place, return_inverse=True)[1]
    count = int(number.max()) + 1
    random = generator(_BOOTSTRAP, seed)
    found = []
    for _ in range(draws):
        drawn = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)
        found.append(ranked.average_precision(drawn[number]))
    low, high = np.nanquantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class F1:
    """Of answers that are yes or no."""

    precision: NDArray[np.float64]
    """[C]; 0 where undefined."""
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    micro: float
    """Of all answers together."""


def f1_of(truth: Truth, answer: NDArray[np.bool_]) -> F1:
    """Precision, recall and F1 of [M, C]."""
    hits = (answer & (truth > 0)).sum(axis=0).astype(np.float64)
    given, wanted = answer.sum(axis=0), (truth > 0).sum(axis=0)
    total = given.sum() + wanted.sum()
    return F1(
        precision=_ratio(hits, given),
        recall=_ratio(hits, wanted),
        f1=_ratio(2 * hits, given + wanted),
        micro=float(2 * hits.sum() / total) if total else 0.0,
    )


def _ratio(a: NDArray[np.float64], b: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
