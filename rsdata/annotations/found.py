"""What every parser answers: images with their boxes, and the counted oddities of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import isfinite

import msgspec

from rsdata.annotations.rings import area, clip, extent
from shards.targets import Box, Ring

_MOVED_PX = 0.01
_LEAST_AREA_PX = 1.0


@dataclass(frozen=True)
class Annotated:
    """One image and what is in it, as the archive says it: boxes may reach out of the image, or have no area."""

    image: str
    """Name of its file, or of its annotation."""
    boxes: tuple[Box, ...] = ()
    width: int = 0
    """Pixels; 0 where the annotations do not tell."""
    height: int = 0
    gsd_m: float | None = None
    error: str | None = None
    """Why the annotation of this image is of no use."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """Counted oddities of this image's annotations."""


@dataclass
class Found:
    """All images of one file or folder of annotations; labels are positions in `classes`."""

    images: list[Annotated] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    """Of no image in particular."""


_Row = tuple[int, float, float, float, float, int, int, tuple[Ring, ...]]


class Facts(msgspec.Struct, array_like=True, frozen=True):
    """What a planned image carries to where it is fetched; the text of `Item.facts`."""

    rows: list[_Row] = []
    width: int = 0
    """Of the whole image as the annotations say, pixels; 0: they do not."""
    height: int = 0
    window: tuple[int, int, int, int] | None = None
    """The tile; its boxes are tidy, and still in the pixels of the image."""
    gsd_m: float | None = None
    names: list[str] = []
    """Classes, where reading the target needs them."""
    notes: dict[str, int] = {}
    error: tuple[str, str] | None = None
    """Class of the failure and its reason."""

    @classmethod
    def load(cls, text: str) -> Facts:
        """What `dump` made."""
        return msgspec.json.decode(text, type=cls)

    def dump(self) -> str:
        """As text."""
        return msgspec.json.encode(self).decode()

    @property
    def boxes(self) -> list[Box]:
        """The rows as boxes."""
        return [Box(r[0], *r[1:5], bool(r[5]), bool(r[6]), r[7]) for r in self.rows]


def is_finite(box: Box) -> bool:
    """Whether all of its corners, and those of its outlines, are numbers that a plan can hold."""
    outlines = chain.from_iterable(chain.from_iterable(box.rings))
    return all(map(isfinite, chain((box.left, box.top, box.right, box.bottom), outlines)))


def rows_of(boxes: Sequence[Box]) -> list[_Row]:
    """Boxes as rows of a plan, corners to a thousandth of a pixel."""
    return [
        (
            box.label,
            round(box.left, 3),
            round(box.top, 3),
            round(box.right, 3),
            round(box.bottom, 3),
            int(box.crowd),
            int(box.difficult),
            tuple(tuple((round(x, 3), round(y, 3)) for x, y in ring) for ring in box.rings),
        )
        for box in boxes
    ]


def tidy(boxes: Sequence[Box], width: int, height: int) -> tuple[list[Box], Counter[str]]:
    """Boxes that a detector can be trained on, in their order, and what was changed or dropped, counted.

    A box with an outline is the extent of that outline inside of the image.

    Args:
        boxes: as the archive has them.
        width: of the image, pixels.
        height: of the image, pixels.
    """
    notes: Counter[str] = Counter()
    kept: dict[Box, None] = {}
    for box in boxes:
        if not is_finite(box):
            notes["boxes dropped: not finite"] += 1
            continue
        corners = (box.left, box.top, box.right, box.bottom)
        inside = within(box, 0, 0, width, height)
        if inside is None or (inside.right - inside.left) * (inside.bottom - inside.top) < _LEAST_AREA_PX:
            empty = box.right <= box.left or box.bottom <= box.top
            out = box.right <= 0 or box.bottom <= 0 or box.left >= width or box.top >= height
            why = "no area" if empty else "outside of the image" if out else "under 1 px² in the image"
            notes[f"boxes dropped: {why}"] += 1
            continue
        now = (inside.left, inside.top, inside.right, inside.bottom)
        if any(abs(a - b) > _MOVED_PX for a, b in zip(corners, now, strict=True)):
            notes["boxes clipped to the image"] += 1
        if inside in kept:
            notes["boxes dropped: the same twice"] += 1
            continue
        kept[inside] = None
    return list(kept), notes


def within(box: Box, left: float, top: float, right: float, bottom: float) -> Box | None:
    """The part of a box, and of its outlines, in a window; still in the pixels of the image. None: no part."""
    left, top, right, bottom = float(left), float(top), float(right), float(bottom)
    if box.rings:
        rings = tuple(
            ring for ring in (clip(r, left, top, right, bottom) for r in box.rings) if area(ring) > 0
        )
        if not rings:
            return None
        west, north, east, south = extent(rings)
        return replace(box, left=west, top=north, right=east, bottom=south, rings=rings)
    west, north = max(box.left, left), max(box.top, top)
    east, south = min(box.right, right), min(box.bottom, bottom)
    if west >= east or north >= south:
        return None
    return replace(box, left=west, top=north, right=east, bottom=south)
