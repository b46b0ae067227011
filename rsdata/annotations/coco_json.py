"""COCO's JSON of instances (cocodataset.org/#format-data): DIOR and DOTA as converted, CrowdAI as released."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import msgspec

from rsdata.annotations.found import Annotated, Found
from rsdata.annotations.rings import extent, ring_of
from shards.errors import ConfigError
from shards.targets import Box, Ring

_UNLIKE_PX = 2.0


class _Image(msgspec.Struct):
    id: int | str
    file_name: str
    width: int = 0
    height: int = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _Object(msgspec.Struct):
    image_id: int | str
    category_id: int
    bbox: list[float] = []
    segmentation: msgspec.Raw = msgspec.Raw()
    """Kept as text until its turn: CrowdAI has 2.4 million."""
    iscrowd: int = 0
    difficult: int = 0


class _File(msgspec.Struct):
    images: list[_Image]
    categories: list[_Category]
    annotations: list[_Object]


def read(path: Path) -> Found:
    """All images of a file; classes in the order of its categories.

    Where an object has polygons, its box is their extent: `bbox` of CrowdAI holds something else, and COCO defines it
    as that extent anyway. Of a run-length mask only the box is kept.

    Raises:
        ConfigError: the file cannot be read, or is not of that form.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is no COCO file of instances ({error})") from None
    found = Found(classes=[category.name for category in file.categories])
    if len(set(found.classes)) < len(found.classes):
        raise ConfigError(f"{path}: two categories have one name; rename one of them")
    label = {category.id: place for place, category in enumerate(file.categories)}
    boxes: dict[int | str, list[Box]] = {image.id: [] for image in file.images}
    notes: defaultdict[int | str, Counter[str]] = defaultdict(Counter)
    if len(boxes) < len(file.images):
        raise ConfigError(f"{path}: two images have one id")
    for item in file.annotations:
        if item.image_id not in boxes:
            found.notes["boxes dropped: of an image that is not in the list"] += 1
        elif item.category_id not in label:
            notes[item.image_id][f"boxes dropped: category {item.category_id} is not in the list"] += 1
        else:
            box = _box(item, label[item.category_id], notes[item.image_id])
            if box is not None:
                boxes[item.image_id].append(box)
    found.images = [
        Annotated(i.file_name, tuple(boxes[i.id]), i.width, i.height, notes=notes[i.id]) for i in file.images
    ]
    return found


def _box(item: _Object, label: int, notes: Counter[str]) -> Box | None:
    rings = _rings(item, notes)
    flags = (bool(item.iscrowd), bool(item.difficult))
    given = None
    if len(item.bbox) == 4:
        left, top, width, height = item.bbox
        given = (left, top, left + width, top + height)
    if rings:
        true = extent(rings)
        if given and any(abs(a - b) > _UNLIKE_PX for a, b in zip(given, true, strict=True)):
            notes["boxes taken from the outline: bbox differs"] += 1
        return Box(label, *true, *flags, rings)
    if given is None:
        notes["boxes dropped: neither bbox nor polygon"] += 1
        return None
    return Box(label, *given, *flags)


def _rings(item: _Object, notes: Counter[str]) -> tuple[Ring, ...]:
    text = bytes(item.segmentation)
    if not text or text.lstrip()[:1] == b"n":
        return ()
    if text.lstrip()[:1] == b"{":
        notes["outlines dropped: run lengths"] += 1
        return ()
    try:
        flat = msgspec.json.decode(text, type=list[list[float]])
    except (msgspec.DecodeError, RecursionError):
        notes["outlines dropped: not lists of numbers"] += 1
        return ()
    rings = tuple(ring for ring in map(ring_of, flat) if ring)
    if len(rings) < len(flat):
        notes["outlines dropped: fewer than three corners"] += len(flat) - len(rings)
    return rings
