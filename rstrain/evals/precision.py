"""Average precision from matched detections: COCO's 101 points, VOC's 11 points and whole area."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rstrain.evals.matching import AREAS, IOUS, VOC_BIT, Floats
from shards.random import generator, stream

_RECALLS = np.linspace(0.0, 1.0, 101)
_BOOTSTRAP = stream("evals/bootstrap")
_EPS = float(np.spacing(1))


class Matches:
    """Matched detections and objects of a whole split; rows as `matching.FOUND` and `TRUE`."""

    def __init__(self, found: Floats, true: Floats, classes: int) -> None:
        order = np.lexsort((found[:, 3], found[:, 0], -found[:, 2]))
        found = found[order]
        self.classes = classes
        self.image = found[:, 0].astype(np.int64)
        """[D], from the surest detection of all; of equal ones the earlier image first."""
        self.label = found[:, 1].astype(np.int64)
        self._order = found[:, 3].astype(np.int64)
        self._hit, self._out = found[:, 4].astype(np.int64), found[:, 5].astype(np.int64)
        self._true = true.astype(np.int64)

    def of_class(
        self, label: int, bit: int, most: int
    ) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
        """Image and rightness (1 or 0) of the detections that count, and the image of each object that does."""
        kept = (self.label == label) & (self._order < most) & ((self._out >> bit) & 1 == 0)
        area_bit = bit if bit == VOC_BIT else bit // len(IOUS)
        objects = (self._true[:, 1] == label) & ((self._true[:, 2] >> area_bit) & 1 == 0)
        return self.image[kept], ((self._hit[kept] >> bit) & 1).astype(np.float64), self._true[objects, 0]

    def precision(self, label: int, bit: int, most: int) -> float | None:
        """COCO's AP at one IoU and area; None without objects."""
        _, right, objects = self.of_class(label, bit, most)
        return coco_ap(right, 1 - right, len(objects)) if len(objects) else None

    def recall(self, label: int, bit: int, most: int) -> float | None:
        """Share of the objects that are found; None without objects."""
        _, right, objects = self.of_class(label, bit, most)
        return float(right.sum() / len(objects)) if len(objects) else None


def bit_of(iou: int, area: str = "all") -> int:
    """Bit of an IoU's position in `IOUS` and an area."""
    return AREAS.index(area) * len(IOUS) + iou


def coco_ap(right: Floats, wrong: Floats, objects: float) -> float:
    """Mean of the precision at 101 recalls, each the best at that recall or beyond (COCOeval).

    Args:
        right: weight of each detection that is, from the surest, else 0.
        wrong: weight of each that is not.
        objects: weight of all objects, above 0.
    """
    if not len(right):
        return 0.0
    hits = right.cumsum()
    recall = hits / objects
    precision = hits / (hits + wrong.cumsum() + _EPS)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.append(best, 0.0)[at].mean())


def voc_ap(right: Floats, objects: int, *, eleven: bool) -> float:
    """VOC's AP of rightness [D] from the surest: at recalls 0, 0.1 … 1 (2007), or the whole area under the curve (2010)."""
    hits = right.cumsum()
    recall = hits / objects
    precision = hits / np.arange(1, len(right) + 1)
    if eleven:
        points = [precision[recall >= t - 1e-12].max(initial=0.0) for t in np.linspace(0, 1, 11)]
        return float(np.mean(points))
    recall = np.concatenate(([0.0], recall, [1.0]))
    best = np.maximum.accumulate(np.concatenate(([0.0], precision, [0.0]))[::-1])[::-1]
    return float(((recall[1:] - recall[:-1]) * best[1:]).sum())


def summary(
    matches: Matches, max_dets: Sequence[int]
) -> tuple[dict[str, float], dict[int, dict[str, float]]]:
    """Scores and those of each class with objects, percent; means over these classes.

    `ap` is over IoU 0.50 to 0.95 and counts 100 detections of an image and class (the largest of `max_dets` where 100 is
    not among them); `ap50`, `ap75` and those of small (up to 32² px), medium and large objects (from 96²) count the largest
    of `max_dets`. `ar_K` is the recall with K.
    """
    most, at_100 = max_dets[-1], 100 if 100 in max_dets else max_dets[-1]
    steps = range(len(IOUS))
    rows: dict[int, dict[str, float]] = {}
    for label in range(matches.classes):
        wanted: dict[str, list[float | None]] = {
            "ap": [matches.precision(label, bit_of(i), at_100) for i in steps],
            "ap50": [matches.precision(label, bit_of(0), most)],
            "ap75": [matches.precision(label, bit_of(5), most)],
        }
        for area in AREAS[1:]:
            wanted[f"ap_{area}"] = [matches.precision(label, bit_of(i, area), most) for i in steps]
        for count in max_dets:
            wanted[f"ar_{count}"] = [matches.recall(label, bit_of(i), count) for i in steps]
        _, right, objects = matches.of_class(label, VOC_BIT, most)
        for name, eleven in (("voc07_ap50", True), ("voc_ap50", False)):
            wanted[name] = [voc_ap(right, len(objects), eleven=eleven) if len(objects) else None]
        row = {name: _mean(values) for name, values in wanted.items()}
        known = {name: value for name, value in row.items() if value is not None}
        if known:
            rows[label] = known
    names = dict.fromkeys(name for row in rows.values() for name in row)
    scores = {
        f"{name}_percent": _percent(float(np.mean([row[name] for row in rows.values() if name in row])))
        for name in names
    }
    return scores, {k: {name: _percent(v) for name, v in row.items()} for k, row in rows.items()}


def ap50_interval(
    matches: Matches, place: NDArray[np.int64], most: int, *, seed: int, draws: int = 200
) -> tuple[float, float]:
    """95 % percentile interval of ap50, percent; whole places are drawn. `place` [images] is the place of each image."""
    _, inverse = np.unique(place, return_inverse=True)
    parts = [matches.of_class(label, bit_of(0), most) for label in range(matches.classes)]
    parts = [part for part in parts if len(part[2])]
    random = generator(_BOOTSTRAP, seed)
    count = int(inverse.max()) + 1
    values = []
    for _ in range(draws):
        weight = np.bincount(random.integers(0, count, count), minlength=count).astype(np.float64)[inverse]
        own = [
            coco_ap(right * weight[image], (1 - right) * weight[image], weight[objects].sum())
            for image, right, objects in parts
            if weight[objects].sum() > 0
        ]
        if own:
            values.append(np.mean(own))
    low, high = np.quantile(values, [0.025, 0.975]) if values else (0.0, 0.0)
    return _percent(float(low)), _percent(float(high))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _percent(value: float) -> float:
    return round(100.0 * value, 4)
