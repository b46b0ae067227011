"""Folders of images, one a class: what most aerial benchmarks are distributed as."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsdata.sources.base import Fetched, Item, Listing, Source, read_file
from rsdata.sources.presets import PRESETS, PresetName
from shards.errors import ConfigError

IMAGES = {"jpg", "jpeg", "png", "tif", "tiff", "bmp", "gif", "webp", "jp2", "ppm", "pgm"}
NOT_IMAGES = {
    "txt",
    "csv",
    "tsv",
    "json",
    "xml",
    "md",
    "html",
    "pdf",
    "db",
    "ini",
    "yaml",
    "yml",
    "py",
    "mat",
}
SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip


class ImageFolder(Source):
    """Images in class folders, or in train/val/test folders of class folders (found out and said)."""

    kind: Literal["imagefolder"] = "imagefolder"
    root: Path = Field(description="folder of class folders, or of train/val/test folders of class folders")
    preset: PresetName | None = Field(None, description="a known archive: its facts and checks")
    test_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of each class for the test split (exact, seeded)"
    )
    val_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of each class for the val split (exact, seeded)"
    )
    classes: Path | None = Field(
        None, description="text file, a class name a line: the order of labels (default: alphabetical)"
    )
    size: int | None = Field(
        None,
        gt=0,
        description="scale the short side down to this many pixels, JPEG q95 (default: keep bytes)",
    )
    max_pixels: int = Field(300_000_000, gt=0, description="refuse images with more pixels")

    title: ClassVar[str] = "images in one folder a class"
    url: ClassVar[str] = "a folder on this machine"
    extra_columns: ClassVar[dict[str, str]] = {"class_name": "string"}
    where: ClassVar[frozenset[str]] = frozenset({"root", "classes"})  # the names themselves are in the plan

    @model_validator(mode="after")
    def _leaves_train(self) -> Self:
        if self.test_fraction + self.val_fraction >= 1:
            raise ValueError(
                "test_fraction and val_fraction leave nothing for train; their sum must be below 1"
            )
        return self

    def set_name(self) -> str:
        """Name of the set: that of the preset, if there is one."""
        return self.name or self.preset or self.kind

    def set_licence(self) -> str:
        """Licence of the preset; a folder alone does not tell."""
        return PRESETS[self.preset].licence if self.preset else "unknown"

    def listing(self) -> Listing:
        """List the class folders.

        Raises:
            ConfigError: no class folders, an empty one, other classes than the preset or `--classes` names.
        """
        notes: Counter[str] = Counter()
        splits = _layout(self.root)
        if splits and (self.test_fraction or self.val_fraction):
            raise ConfigError(
                f"{self.root}: has its own splits ({', '.join(sorted(splits))}); leave out --test-fraction and "
                "--val-fraction, or give one of these folders as --root"
            )
        found: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for split, folder in splits.items() or [("", "")]:
            for name in _class_folders(self.root / folder):
                path = f"{folder}/{name}" if folder else name
                files = _images(self.root, path, notes)
                if not files:
                    raise ConfigError(
                        f"{self.root / path}: the class folder has no images; add some or remove the folder"
                    )
                found[split, name] = files
        classes = self._classes(sorted({name for _, name in found}))
        notes["layout: " + ("split folders" if splits else "class folders")] = len(splits) or len(classes)
        number = {name: label for label, name in enumerate(classes)}
        items = []
        for (split, name), files in sorted(found.items()):
            label = number[name]
            chosen = [split] * len(files) if split else self._split(name, label, len(files))
            for (path, size), part in zip(files, chosen, strict=True):
                items.append(Item(path, (path,), (size,), split=part, label=label, group=path, facts=name))
        return Listing(items, classes, dict(notes))

    def fetch(self, item: Item) -> Fetched:
        """One image with its label."""
        from rsdata.images import check_image, fit
        from rsdata.sources.members import json_member
        from shards.sample import Sample, View

        data = read_file(self.root, item.urls[0], item.sizes[0])
        image = fit(check_image(data, max_pixels=self.max_pixels), size=self.size)
        facts = {"id": item.id, "class_name": item.facts, "label": item.label, "split": item.split}
        view = View(
            member=image.ending,
            width=image.width,
            height=image.height,
            label=item.label,
            split=item.split,
            gsd_m=PRESETS[self.preset].gsd_m if self.preset else None,
            source=item.urls[0],
            licence=self.set_licence(),
            extra={"class_name": item.facts},
        )
        members = {image.ending: image.data, "cls": str(item.label).encode(), "json": json_member(facts)}
        notes = {image.note: 1} if image.note else {}
        return Fetched(Sample(item.key, members, (view,)), image.histogram(), notes=notes)

    def _classes(self, found: list[str]) -> list[str]:
        classes = found
        if self.classes is not None:
            try:
                lines = self.classes.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{self.classes}: cannot be read ({error}); give one name a line") from None
            classes = [line.strip() for line in lines if line.strip()]
            twice = [name for name, count in Counter(classes).items() if count > 1]
            if twice:
                raise ConfigError(f"{self.classes}: {twice[0]!r} stands there twice")
            unknown = [name for name in found if name not in classes]
            if unknown:
                raise ConfigError(
                    f"{self.root}: {len(unknown)} class folders are not named in {self.classes}, the first is "
                    f"{unknown[0]!r}; add them to the file or move them away"
                )
        if self.preset and len(found) != PRESETS[self.preset].classes:
            raise ConfigError(
                f"{self.root}: has {len(found)} class folders, {self.preset} has {PRESETS[self.preset].classes}; "
                f"is --root the folder that holds them ({', '.join(found[:3])}, …)? Without --preset any number will do"
            )
        return classes

    def _split(self, name: str, label: int, count: int) -> list[str]:
        """Exact shares of one class; halves are rounded up."""
        from shards.random import permute, stream

        test, val = (int(count * share + 0.5) for share in (self.test_fraction, self.val_fraction))
        if test + val >= count and test + val:
            raise ConfigError(
                f"{self.root / name}: {count} images, {test} for test and {val} for val leave none for train; "
                "choose smaller fractions or remove the class"
            )
        place = permute(range(count), count, stream("imagefolder/split"), self.seed, label)
        return ["test" if p < test else "val" if p < test + val else "train" for p in place]


def _layout(root: Path) -> dict[str, str]:
    """Canonical split -> folder, where every folder of the root is named as a split; else nothing."""
    names = _class_folders(root)
    known = {SPLITS[name.lower()]: name for name in names if name.lower() in SPLITS}
    if len(known) != len(names) or not all(_class_folders(root / name, bare=True) for name in names):
        return {}
    return dict(sorted(known.items()))


def _class_folders(folder: Path, *, bare: bool = False) -> list[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be listed ({error.strerror}); give --root a folder") from None
    names = sorted(e.name for e in entries if e.is_dir() and not _junk_folder(e.name))
    loose = sum(e.is_file() and _ending(e.name) in IMAGES for e in entries)
    if not bare and (loose or not names):
        what = f"{loose:,} images lie loose beside" if names else f"{loose:,} images and no"
        raise ConfigError(
            f"{folder}: {what} class folders; expected ROOT/<class>/<image> or ROOT/<train|val|test>/<class>/<image>"
        )
    return names


def _images(root: Path, folder: str, notes: Counter[str]) -> list[tuple[str, int]]:
    """Relative paths and sizes of the files of a class, however deep, sorted; known non-images are counted."""
    found: list[tuple[str, int]] = []

    def walk(path: str, above: frozenset[tuple[int, int]]) -> None:
        try:
            status = (root / path).stat()
            here = (status.st_dev, status.st_ino)
            entries = [] if here in above else list(os.scandir(root / path))
            for entry in entries:
                name = f"{path}/{entry.name}"
                if not entry.name.isascii() and not _is_utf8(entry.name):
                    raise ConfigError(f"{root / path}: the file name {entry.name!r} is not UTF-8; rename it")
                if entry.is_dir():
                    if not _junk_folder(entry.name):
                        walk(name, above | {here})
                elif entry.name.startswith(".") or _ending(entry.name) in NOT_IMAGES:
                    notes[f"ignored: {_kind(entry.name)}"] += 1
                else:  # a broken link is listed too: it fails as gone, in sight
                    found.append((name, entry.stat().st_size if entry.is_file() else 0))
        except OSError as error:
            raise ConfigError(f"{root / path}: cannot be listed ({error.strerror})") from None

    walk(folder, frozenset())
    return sorted(found)


def _junk_folder(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _kind(name: str) -> str:
    return name if name.startswith(".") else f".{_ending(name)}"


def _ending(name: str) -> str:
    return name.rsplit(".", 1)[-1].lower() if "." in name else ""


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
