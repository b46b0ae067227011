"""Small sets with targets that a network learns in seconds: bright shapes on a smooth ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from builders import Place, build_set, pattern
from shards.dataset import Target
from shards.index import Index
from shards.targets import BOXES, IGNORE, MASK, Box, encode_boxes, encode_mask

SIDE = 64


def ground(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Dark and smooth."""
    return (pattern(seed, side, side) * 0.35).astype(np.uint8)


def squares(seed: int, *, most: int = 3, side: int = SIDE) -> tuple[NDArray[np.uint8], list[Box]]:
    """Bright squares (class 0) and flat bars (class 1) that do not touch, with their outlines; sometimes none."""
    rng = np.random.default_rng(seed)
    image, boxes = ground(seed, side), []
    cells = rng.permutation(4)[: int(rng.integers(0, most + 1))]
    for cell in cells:
        label = int(rng.integers(0, 2))
        high, wide = ((18, 18), (8, 26))[label]
        top = int(cell // 2 * side // 2 + rng.integers(2, side // 2 - high - 1))
        left = int(cell % 2 * side // 2 + rng.integers(2, side // 2 - wide - 1))
        image[top : top + high, left : left + wide] = ((250, 240, 90), (120, 220, 250))[label]
        corners = (float(left), float(top), float(left + wide), float(top + high))
        ring = (
            (corners[0], corners[1]),
            (corners[2], corners[1]),
            (corners[2], corners[3]),
            (corners[0], corners[3]),
        )
        boxes.append(Box(label, *corners, rings=(ring,)))
    return image, boxes


def split_of(number: int, train: int) -> str:
    return "train" if number < train else "test"


def build_boxes(folder: Path, train: int = 24, test: int = 12) -> Index:
    """A detection set of two classes; some images are empty."""
    places = []
    for i in range(train + test):
        image, boxes = squares(i)
        places.append(Place([image], split=split_of(i, train), members={BOXES: encode_boxes(boxes)}))
    return build_set(folder, places, targets=[Target(member=BOXES, classes=["square", "bar"])])


def build_masks(folder: Path, train: int = 24, test: int = 12) -> Index:
    """A class for each pixel: ground, square, bar; the top row is ignored."""
    places = []
    for i in range(train + test):
        image, boxes = squares(i, most=4)
        mask = painted(boxes)
        mask[0] = IGNORE
        places.append(Place([image], split=split_of(i, train), members={MASK: encode_mask(mask)}))
    return build_set(folder, places, targets=[Target(member=MASK, classes=["ground", "square", "bar"])])


def build_pairs(folder: Path, train: int = 24, test: int = 12) -> Index:
    """Two dates; on the second, things have been built."""
    places = []
    for i in range(train + test):
        after, boxes = squares(i, most=4)
        mask = (painted(boxes) > 0).astype(np.uint8)
        before = np.clip(ground(i).astype(int) + 12, 0, 255).astype(np.uint8)  # another light
        times = ["2018-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00"]
        places.append(
            Place([before, after], split=split_of(i, train), times=times, members={MASK: encode_mask(mask)})
        )
    return build_set(folder, places, targets=[Target(member=MASK, classes=["same", "changed"])])


def painted(boxes: list[Box], side: int = SIDE) -> NDArray[np.uint8]:
    mask = np.zeros((side, side), np.uint8)
    for box in boxes:
        mask[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = box.label + 1
    return mask
