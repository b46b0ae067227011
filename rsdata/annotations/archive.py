"""Every annotated image of an archive: which files belong together, and the labels of all of them in one list."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rsdata.annotations import coco_json, dota_text, voc_xml, xview_geojson
from rsdata.annotations.found import Annotated, Found, is_finite
from rsdata.sources.patterns import by, counted, fill, find, names_in, split_in
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rsdata.sources.detection_presets import Format

_TAILS = {"coco": ("/{file}", ""), "xview": ("/{file}", ""), "voc": ("/{id}.*", "/{id}.xml"), "dota": ("/{id}.*", "/{id}.txt")}  # fmt: skip
"""What a bare folder means as path of the images and of the annotations."""


class AnnotatedImage(NamedTuple):
    """An image with what the archive says of it; labels are positions in the classes of the archive."""

    path: str
    """Relative to the root."""
    size: int
    """Bytes."""
    split: str | None
    """What its path tells."""
    about: Annotated
    error: tuple[str, str] | None = None
    """Class of the failure and why the image cannot be had."""


@dataclass
class Archive:
    """All of it."""

    images: list[AnnotatedImage] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)


def read(folder: Path, format: Format, images: str, annotations: str, classes: list[str]) -> Archive:
    """Read all annotations and find the image of each.

    Args:
        folder: root of the archive.
        format: of the annotations.
        images: path with named parts, or a folder.
        annotations: path with named parts, or a folder or file.
        classes: names in the order of their labels, told apart by letters and digits alone; boxes of others are dropped
            and counted. Empty: as the annotations have them, by alphabet where these have no order.

    Raises:
        ConfigError: files that are not there, not of the format, or not to be joined.
    """
    images, annotations = (
        text if "{" in text or not tail else text.rstrip("/") + tail
        for text, tail in zip((images, annotations), _TAILS[format], strict=True)
    )
    out = Archive()
    if format in ("coco", "xview"):
        parts = _of_lists(folder, format, images, annotations)
        found_names = [name for found, _ in parts for name in found.classes]
    else:
        parts = _of_files(folder, format, images, annotations, out.notes)
        found_names = sorted(name for found, _ in parts for name in found.classes)
    out.classes = classes or list({_folded(name): name for name in reversed(found_names)}.values())[::-1]
    label_of = {_folded(name): label for label, name in enumerate(out.classes)}
    for found, listed in parts:
        out.notes += found.notes
        labels = [label_of.get(_folded(name)) for name in found.classes]
        out.images += [_relabelled(image, labels, found.classes) for image in listed]
    if not out.images:
        raise ConfigError(f"{folder}: {annotations} names no image; check --images and --annotations")
    return out


def _of_lists(
    folder: Path, format: Format, images: str, annotations: str
) -> list[tuple[Found, list[AnnotatedImage]]]:
    """Formats with one file for many images; an image that is named and not there fails when it is fetched."""
    reader = coco_json.read if format == "coco" else xview_geojson.read
    untold = set(names_in(images)) - set(names_in(annotations)) - {"file"}
    if untold or "*" in images or "{file}" not in images:
        raise ConfigError(
            f"--images {images}: {{file}} stands for the name in the annotations, and every other part must be told by "
            f"--annotations {annotations}"
        )
    out = []
    for path, (parts, _) in find(folder, annotations).items():
        found = reader(folder / path)
        split = split_in(parts, annotations)
        listed = []
        for about in found.images:
            image = fill(images, dict(parts) | {"file": about.image})
            error, size = None, 0
            if image.startswith("/") or ".." in image.split("/"):
                error = ("refused", f"{path}: names {image[:200]!r}, which leaves the folder of the archive")
            elif (folder / image).is_file():
                size = (folder / image).stat().st_size
            else:
                error = ("gone", f"{image}: is in {path} and not in the archive")
            listed.append(AnnotatedImage(image, size, split, about, error))
        out.append((found, listed))
    return out


def _of_files(
    folder: Path, format: Format, images: str, annotations: str, notes: Counter[str]
) -> list[tuple[Found, list[AnnotatedImage]]]:
    """Formats with a file for each image; an annotation whose image is not there fails when it is fetched."""
    reader = voc_xml.read if format == "voc" else dota_text.read
    common = set(names_in(images)) & set(names_in(annotations))
    if not common:
        raise ConfigError(
            f"--images {images} and --annotations {annotations}: have no named part in common, such as {{id}}"
        )
    pictures, texts = find(folder, images), find(folder, annotations)
    picture_of, text_of = by(common, pictures, images), by(common, texts, annotations)
    counted(notes, "images left out: without annotations", len(picture_of.keys() - text_of.keys()))
    found = reader({text: folder / text for text in text_of.values()})
    image_at = {text: picture_of.get(key) for key, text in text_of.items()}
    listed = []
    for about in found.images:
        text, image = about.image, image_at[about.image]
        split = split_in(texts[text][0], annotations)
        if image is None:
            error = ("gone", f"{text}: no image like {images} belongs to it")
            listed.append(AnnotatedImage(text, 0, split, about, error))
            continue
        invalid = ("invalid", about.error) if about.error else None
        split = split_in(pictures[image][0], images) or split
        listed.append(AnnotatedImage(image, pictures[image][1], split, about, invalid))
    return [(found, listed)]


def _relabelled(image: AnnotatedImage, labels: list[int | None], names: list[str]) -> AnnotatedImage:
    boxes, notes = [], Counter(image.about.notes)
    for box in image.about.boxes:
        label = labels[box.label]
        if not is_finite(box):
            notes["boxes dropped: not finite"] += 1
        elif label is None:
            notes[f"boxes dropped: {names[box.label]!r} is not in the list of classes"] += 1
        else:
            boxes.append(replace(box, label=label) if label != box.label else box)
    return image._replace(about=replace(image.about, boxes=tuple(boxes), notes=notes))


def _folded(name: str) -> str:
    """Letters and digits alone: mirrors of DIOR write `Expressway-Service-area` and `expressway service area`."""
    return re.sub(r"[\W_]", "", name).lower()
