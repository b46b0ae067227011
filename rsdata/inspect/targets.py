"""What a sample is scored against, drawn over its views: boxes and outlines, masks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.maps import colour
from shards.errors import ShardError
from shards.index import Index
from shards.targets import BOXES, IGNORE, LABELS, MASK, Box, decode_boxes, decode_mask, sample_members

_FILL = 0.3
_NAMED = 3
_BACKGROUNDS = (["background"], ["no change"])

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Targets:
    """Of one sample."""

    boxes: list[Box]
    mask: NDArray[np.uint8] | None
    """Classes [H, W]."""
    background: bool
    """Class 0 of the mask is what nobody looks for, so it stays as it is."""
    said: str
    """For people: `12 ship, 3 airplane`, or the classes of a mask or of the labels."""


def is_dense(index: Index) -> bool:
    """Whether the set has boxes or masks, which a picture shows."""
    return any(target.member in (BOXES, MASK) for target in index.info.targets)


def targets_of(index: Index, row: int) -> Targets:
    """The targets of the sample that a row belongs to.

    Raises:
        ShardError: damaged bytes.
    """
    classes = {target.member: target.classes for target in index.info.targets}
    members = sample_members(index, row) if is_dense(index) else {}
    boxes = decode_boxes(members[BOXES]) if BOXES in members else []
    mask = decode_mask(members[MASK]) if MASK in members else None
    parts = []
    if BOXES in classes:
        counts = Counter(classes[BOXES][box.label] for box in boxes).most_common()
        parts.append(_few([f"{count} {name}" for name, count in counts]) or "no objects")
    if mask is not None:
        shares = np.bincount(mask.ravel(), minlength=256)[:IGNORE] / max(mask.size, 1)
        order = [int(label) for label in np.argsort(-shares, kind="stable") if shares[label] > 0]
        parts.append(_few([f"{shares[label]:.0%} {classes[MASK][label]}" for label in order]) or "nothing")
    if LABELS in classes and "labels" in index.table.column_names:
        parts.append(_few([classes[LABELS][label] for label in index.table["labels"][row].as_py() or []]))
    background = MASK in classes and classes[MASK][:1] in _BACKGROUNDS
    return Targets(boxes, mask, background, "; ".join(parts))


def class_counts(index: Index) -> list[tuple[str, int]]:
    """Name of each class and the views that have it.

    Raises:
        ShardError: a label without a class.
    """
    import pyarrow.compute as pc

    info = index.info
    if info.labels or "labels" not in index.table.column_names:
        return [(name, info.labels.get(name, 0)) for name in info.classes]
    flat = np.asarray(pc.list_flatten(index.table["labels"].combine_chunks()), np.int64)
    counts = np.bincount(flat, minlength=len(info.classes))
    if len(counts) > len(info.classes):
        raise ShardError(
            f"{index.store}: index.parquet has label {len(counts) - 1}, but dataset.json names {len(info.classes)} classes: "
            "they are not of one set; build it again"
        )
    return list(zip(info.classes, counts.tolist(), strict=True))


def draw(image: Rgb, targets: Targets, *, left: int, top: int, side: int, height: int, width: int) -> Rgb:
    """A thumbnail with the targets over it.

    Args:
        image: RGB [S, S, 3] of a square of the view.
        targets: in pixels of the view; a mask may be on another grid over the same ground.
        left: of the square in the view, pixels.
        top: likewise.
        side: likewise.
        height: of the view, pixels.
        width: likewise.
    """
    import cv2

    out = image.copy()
    scale = image.shape[0] / side
    if targets.mask is not None:
        _paint(out, targets, left, top, side, height, width)
    for box in targets.boxes:
        red, green, blue = (round(255 * part) for part in colour(box.label))
        corners = ((box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom))
        for ring in box.rings or (corners,):
            points = np.rint((np.array(ring) - (left, top)) * scale).astype(np.int32)
            thick = 1 if box.difficult or box.crowd else 2
            cv2.polylines(out, [points], True, (red, green, blue), thick, cv2.LINE_AA)
    return out


def _paint(out: Rgb, targets: Targets, left: int, top: int, side: int, height: int, width: int) -> None:
    """Fill classes thinly and edge them."""
    assert targets.mask is not None
    size = out.shape[0]
    centres = (np.arange(size) + 0.5) * side / size
    rows = ((top + centres) * targets.mask.shape[0] / height).astype(np.int64)
    columns = ((left + centres) * targets.mask.shape[1] / width).astype(np.int64)
    classes = targets.mask[rows[:, None], columns]
    palette = np.array([colour(label) for label in range(256)], np.float32) * 255
    palette[IGNORE] = 0
    shown = classes > 0 if targets.background else np.ones_like(classes, bool)
    edge = np.zeros_like(shown)
    edge[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    edge[1:] |= classes[1:] != classes[:-1]
    share = np.where(edge, 1.0, np.where(shown, _FILL, 0.0))[..., None].astype(np.float32)
    near = np.where(
        shown, classes, _beside(classes)
    )  # the edge of background is drawn in the colour of its neighbour
    out[:] = (out * (1 - share) + palette[near] * share + 0.5).astype(np.uint8)


def _beside(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    beside = classes.copy()
    beside[:, 1:] = np.maximum(beside[:, 1:], classes[:, :-1])
    beside[1:] = np.maximum(beside[1:], classes[:-1])
    return beside


def _few(names: list[Any]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
