"""Which detections hit which objects: COCO's and VOC's rules on the boxes or masks of one image.

An image is matched where it was looked at; what the scores need of it is two small tables of numbers, so ranks exchange
those and every rank computes the same scores to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

IOUS: Floats = np.linspace(0.5, 0.95, 10)
AREAS = ("all", "small", "medium", "large")
_RANGES = ((0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
VOC_BIT = len(AREAS) * len(IOUS)
VOC_IOU = 0.5

FOUND = ("image", "label", "score", "order", "hit", "left_out")
"""Columns of a detection: `order` counts those of its image and class from the surest; `hit` and `left_out` hold a bit for
each area and IoU (area * 10 + IoU), and bit 40 for VOC."""
TRUE = ("image", "label", "left_out")
"""Columns of an object: a bit for each area in which no score counts it, and bit 40 for VOC."""


@dataclass(frozen=True)
class Objects:
    """The truth of an image."""

    labels: NDArray[np.int64]
    areas: Floats
    """Of boxes or masks, pixels."""
    crowd: Bools
    difficult: Bools


def box_ious(found: Floats, true: Floats, crowd: Bools) -> Floats:
    """Shares [D, N] of boxes [.., 4]; against a crowd the share of the detection that lies in it."""
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    common = (high - low).clip(min=0).prod(axis=2)
    return _shares(common, box_areas(found), box_areas(true), crowd)


def box_areas(boxes: Floats) -> Floats:
    """Width times height, [N]."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.asarray(width * height)


def mask_ious(found: NDArray[np.uint8], true: NDArray[np.uint8], crowd: Bools) -> Floats:
    """As `box_ious` for masks [D, H, W] and [N, H, W] of 0 and 1."""
    a, b = (np.packbits(m.reshape(len(m), m.shape[1] * m.shape[2]), axis=1) for m in (found, true))
    common = np.zeros((len(a), len(b)))
    for row, mask in enumerate(a):
        common[row] = np.bitwise_count(b & mask).sum(axis=1, dtype=np.int64)
    return _shares(common, mask_areas(found), mask_areas(true), crowd)


def mask_areas(masks: NDArray[np.uint8]) -> Floats:
    """Pixels of each mask, [N]."""
    return np.asarray(masks.sum(axis=(1, 2)), np.float64)


def _shares(common: Floats, found: Floats, true: Floats, crowd: Bools) -> Floats:
    union = np.where(crowd[None], found[:, None], found[:, None] + true[None] - common)
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def match_image(
    image: int,
    labels: NDArray[np.int64],
    scores: Floats,
    areas: Floats,
    shares: Floats,
    objects: Objects,
    *,
    most: int,
) -> tuple[Floats, Floats]:
    """Rows `FOUND` [D, 6] and `TRUE` [N, 3] of one image.

    Args:
        image: its number among those scored.
        labels: of detections, [D].
        scores: [D].
        areas: [D].
        shares: IoU [D, N]; what lies in a crowd counts by its own area.
        objects: the truth.
        most: detections of a class that are looked at.
    """
    found, true = [], []
    for label in np.unique(np.concatenate((labels, objects.labels))):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(-scores[own], kind="stable")][:most]
        its = np.flatnonzero(objects.labels == label)
        share, crowd = shares[np.ix_(own, its)], objects.crowd[its]
        hit, out = np.zeros(len(own), np.int64), np.zeros(len(own), np.int64)
        gone = np.zeros(len(its), np.int64)
        for area, (low, high) in enumerate(_RANGES):
            ignored = crowd | (objects.areas[its] < low) | (objects.areas[its] > high)
            gone |= ignored.astype(np.int64) << area
            outside = (areas[own] < low) | (areas[own] > high)
            for step, least in enumerate(IOUS):
                matched, passed = _coco(share, ignored, crowd, float(least))
                bit = area * len(IOUS) + step
                hit |= (matched & ~passed).astype(np.int64) << bit
                out |= (passed | (~matched & outside)).astype(np.int64) << bit
        right, passed = _voc(share, objects.difficult[its] | crowd)
        hit |= right.astype(np.int64) << VOC_BIT
        out |= passed.astype(np.int64) << VOC_BIT
        gone |= (objects.difficult[its] | crowd).astype(np.int64) << VOC_BIT
        found.append(_table((image, label, scores[own], np.arange(len(own)), hit, out), len(own)))
        true.append(_table((image, label, gone), len(its)))
    empty = (np.zeros((0, len(FOUND))), np.zeros((0, len(TRUE))))
    return np.concatenate([empty[0], *found]), np.concatenate([empty[1], *true])


def _table(columns: tuple[object, ...], rows: int) -> Floats:
    return np.stack([np.broadcast_to(np.asarray(c, np.float64), rows) for c in columns], axis=1)


def _coco(share: Floats, ignored: Bools, crowd: Bools, least: float) -> tuple[Bools, Bools]:
    """Whether each detection, from the surest, finds an object, and whether that one does not count (COCOeval)."""
    matched, passed = np.zeros(len(share), bool), np.zeros(len(share), bool)
    order = np.argsort(ignored, kind="stable")
    taken = np.zeros(len(ignored), bool)
    for number in np.flatnonzero(share.max(axis=1, initial=0.0) >= min(least, 1 - 1e-10)):
        row, best, at = share[number], min(least, 1 - 1e-10), -1
        for candidate in order:
            if taken[candidate] and not crowd[candidate]:
                continue
            if at >= 0 and not ignored[at] and ignored[candidate]:
                break
            if row[candidate] >= best:
                best, at = row[candidate], candidate
        if at >= 0:
            taken[at] = matched[number] = True
            passed[number] = ignored[at]
    return matched, passed


def _voc(share: Floats, ignored: Bools) -> tuple[Bools, Bools]:
    """Whether each detection is right, and whether it is left out (VOC development kit).

    Each detection looks at the object that it overlaps most, and at no other; a second one on the same object is wrong.
    """
    right, passed = np.zeros(len(share), bool), np.zeros(len(share), bool)
    taken = np.zeros(len(ignored), bool)
    for number, row in enumerate(share):
        if not len(row) or row.max() < VOC_IOU:
            continue
        at = int(row.argmax())
        if ignored[at]:
            passed[number] = True
        elif not taken[at]:
            taken[at] = right[number] = True
    return right, passed
