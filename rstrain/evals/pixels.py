"""Scores of pixels from counts: exact integers, so neither batches nor ranks nor their order enter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shards.random import generator, permute, stream
from shards.targets import IGNORE

_BOOTSTRAP = stream("evals/bootstrap")
_SHUFFLE = stream("evals/pixels/shuffle")

Counts = NDArray[np.int64]


def confusion_of(truth: NDArray[np.uint8], prediction: NDArray[np.integer], classes: int) -> Counts:
    """Counts [C, C] of one image, rows are truth; pixels with truth 255 are left out."""
    known = truth != IGNORE
    flat = truth[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def ious(confusion: Counts) -> NDArray[np.float64]:
    """IoU of each class from counts [..., C, C]; NaN where a class is neither there nor predicted."""
    right, union = _right_and_union(confusion)
    return np.asarray(np.divide(right, union, out=np.full(right.shape, np.nan), where=union > 0))


def mean_iou(confusion: Counts) -> float:
    """Mean over the classes that are there or predicted."""
    values = ious(confusion)
    return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0


def f1_of(confusion: Counts, positive: int = 1) -> tuple[float, float, float]:
    """Precision, recall and F1 of one class; 0 where undefined."""
    right = float(confusion[positive, positive])
    predicted, true = float(confusion[:, positive].sum()), float(confusion[positive].sum())
    return _ratio(right, predicted), _ratio(right, true), _ratio(2 * right, predicted + true)


def per_image_ious(confusions: Counts) -> dict[str, float]:
    """Means over images of the IoU of class 1, fraction, from [N, 2, 2].

    `image_iou` is over images where it is there or predicted; `image_iou_empty_is_1` counts an image where it is neither
    as 1, as the flood study of sn7-vicreg did, which lets it pass the F1.
    """
    values = ious(confusions)[:, 1]
    known = values[~np.isnan(values)]
    return {
        "image_iou": float(known.mean()) if len(known) else 0.0,
        "image_iou_empty_is_1": float(np.nan_to_num(values, nan=1.0).mean()),
    }


def batch_means(confusions: Counts, batch: int, *, seed: int) -> dict[str, float]:
    """Precision, recall and F1 of class 1 as the mean over shuffled whole batches of tiles, fraction.

    So scored the authors of Seasonal Contrast: a last short batch is dropped, an undefined value is 0. It depends on the
    size and the order of batches, which is why the pooled scores stand first.
    """
    count = max(1, len(confusions) // batch)
    order = permute(np.arange(len(confusions)), len(confusions), _SHUFFLE, seed)
    parts = [f1_of(confusions[order[i * batch : (i + 1) * batch]].sum(axis=0)) for i in range(count)]
    return dict(zip(("precision", "recall", "f1"), np.mean(parts, axis=0).tolist(), strict=True))


def interval(
    confusions: Counts,
    place: NDArray[np.int64],
    score: Callable[[Counts], float],
    *,
    seed: int,
    draws: int = 1000,
) -> tuple[float, float]:
    """95 % percentile interval of a score of summed counts [N, C, C], fraction; whole places are drawn."""
    _, inverse = np.unique(place, return_inverse=True)
    own = np.zeros((int(inverse.max()) + 1, *confusions.shape[1:]), np.int64)
    np.add.at(own, inverse, confusions)
    random = generator(_BOOTSTRAP, seed)
    values = []
    for _ in range(draws):
        taken = np.bincount(random.integers(0, len(own), len(own)), minlength=len(own))
        values.append(score(np.tensordot(taken, own, axes=1)))
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _right_and_union(confusion: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    right = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - right
    return right, union.astype(np.float64)


def _ratio(a: float, b: float) -> float:
    return a / b if b > 0 else 0.0
