"""Targets: what a sample is scored against beyond one class — boxes, masks, label vectors — as typed members.

`boxes.json`  boxes, classes, flags and outlines of the objects of an image
`mask.png`    a class for each pixel, 8 bits; 255 is ignored
`labels.npy`  which classes an image has, uint8 [C] of 0 and 1; the index holds the same as `labels`, positions in a list

`DatasetInfo.targets` names the kinds that a set has and their classes.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.codec import ImageError, decode, encode_png
from shards.errors import ShardError
from shards.index import Index

BOXES, MASK, LABELS = "boxes.json", "mask.png", "labels.npy"
IGNORE = 255
"""Value of a mask's pixels that no score counts."""

Ring = tuple[tuple[float, float], ...]
"""Corners x, y of a closed outline, pixels; the first is not repeated."""


@dataclass(frozen=True)
class Box:
    """One object of an image."""

    label: int
    """Position in the classes of the target."""
    left: float
    """Pixels from the left edge of the image; 0 is the outer edge of the first pixel."""
    top: float
    right: float
    """Outside: the width is right - left."""
    bottom: float
    crowd: bool = False
    """A group that cannot be told apart; scores neither reward nor punish what is found there."""
    difficult: bool = False
    rings: tuple[Ring, ...] = field(default=())
    """Outlines where the archive has them: the polygons of an instance, or the four corners of a rotated box."""

    def check(self, width: int, height: int, classes: int) -> None:
        """Refuse what a detector would choke on.

        Raises:
            ShardError: no area, not finite, outside of the image, or a class that is not known.
        """
        corners = (self.left, self.top, self.right, self.bottom)
        if not all(map(math.isfinite, corners)) or not (self.left < self.right and self.top < self.bottom):
            raise ShardError(f"box {corners}: has no area; expected left < right and top < bottom")
        if self.left < 0 or self.top < 0 or self.right > width or self.bottom > height:
            raise ShardError(f"box {corners}: reaches out of the image of {width} x {height} px")
        if not 0 <= self.label < classes:
            raise ShardError(f"box {corners}: class {self.label}, and there are {classes}")


def encode_boxes(boxes: Sequence[Box]) -> bytes:
    """The member `boxes.json`: lists of equal length, the same bytes for the same boxes."""
    columns: dict[str, Any] = {
        "boxes": [[box.left, box.top, box.right, box.bottom] for box in boxes],
        "labels": [box.label for box in boxes],
        "crowd": [int(box.crowd) for box in boxes],
        "difficult": [int(box.difficult) for box in boxes],
    }
    if any(box.rings for box in boxes):
        columns["rings"] = [box.rings for box in boxes]
    return json.dumps(columns, separators=(",", ":"), allow_nan=False).encode()


def decode_boxes(data: bytes) -> list[Box]:
    """The boxes of a member `boxes.json`.

    Raises:
        ShardError: it is not of that form.
    """
    try:
        columns = json.loads(data)
        rings = columns.get("rings") or [()] * len(columns["boxes"])
        rows = zip(
            columns["boxes"], columns["labels"], columns["crowd"], columns["difficult"], rings, strict=True
        )
        out = []
        for (left, top, right, bottom), label, crowd, difficult, outlines in rows:
            corners = (float(left), float(top), float(right), float(bottom))
            shapes = tuple(tuple((float(x), float(y)) for x, y in ring) for ring in outlines)
            out.append(Box(int(label), *corners, bool(crowd), bool(difficult), shapes))
        return out
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ShardError(
            f"a member boxes.json cannot be read ({error}); run: rsdata verify on its set"
        ) from None


def encode_mask(mask: NDArray[np.integer]) -> bytes:
    """The member `mask.png` of classes [H, W], 0 … 254, and 255 for pixels to ignore.

    Raises:
        ShardError: not two axes, or values outside of 0 … 255.
    """
    if mask.ndim != 2 or not mask.size or mask.min() < 0 or mask.max() > IGNORE:
        raise ShardError(f"a mask of shape {mask.shape}: expected [height, width] of classes 0 … 255")
    return encode_png(mask.astype(np.uint8))


def decode_mask(data: bytes) -> NDArray[np.uint8]:
    """Classes [H, W] of a member `mask.png`.

    Raises:
        ShardError: not an 8-bit picture of one band.
    """
    try:
        mask = np.asarray(decode(MASK, data))
    except ImageError as error:
        raise ShardError(f"a member mask.png cannot be read ({error})") from None
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ShardError(
            f"a member mask.png has {mask.dtype} pixels of shape {mask.shape}; expected uint8 [H, W]"
        )
    return mask


def encode_labels(labels: Sequence[int], classes: int) -> bytes:
    """The member `labels.npy`: uint8 [classes], 1 at each position that `labels` names.

    Raises:
        ShardError: a position outside of the classes.
    """
    if any(not 0 <= label < classes for label in labels):
        raise ShardError(f"labels {list(labels)}: there are {classes} classes")
    vector = np.zeros(classes, np.uint8)
    vector[list(labels)] = 1
    out = io.BytesIO()
    np.save(out, vector)
    return out.getvalue()


def sample_members(index: Index, row: int) -> Mapping[str, bytes]:
    """All members of the sample that a row of the index belongs to, by name (`jpg`, `mask.png`, `000.jpg`).

    Raises:
        ShardError: the sample does not match its crc.
    """
    import tarfile
    import zlib

    region = index.sample_bytes(row)
    if zlib.crc32(region) != index.table["sample_crc32"][row].as_py():
        raise ShardError(
            f"{index.store}: sample {index.keys([row])[0]} is damaged (crc differs)\n"
            f"  Run: rsdata verify {index.store}"
        )
    out = {}
    with tarfile.open(fileobj=io.BytesIO(region), mode="r:", ignore_zeros=True) as tar:
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None  # a set holds plain files only
            out[info.name.partition(".")[2]] = file.read()
    return out
