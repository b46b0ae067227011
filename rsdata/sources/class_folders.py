"""Folders of images, one a class: which there are, and what lies in them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from rsdata.sources.split_files import SPLITS
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


def layout(root: Path) -> dict[str, str]:
    """Canonical split -> folder, where every folder of the root is named as a split; else nothing.

    Raises:
        ConfigError: several are, and others lie beside them or stand for the same split; taken for classes they would
            be wrong labels.
    """
    names = class_folders(root)
    splits = [name for name in names if name.lower() in SPLITS and class_folders(root / name, bare=True)]
    known = {SPLITS[name.lower()]: name for name in splits}
    if len(known) == len(names):
        return dict(sorted(known.items()))
    if len(splits) > 1:
        raise ConfigError(
            f"{root}: {', '.join(splits)} are named as splits and hold folders, and {len(names) - len(known)} more folders "
            "lie beside them or stand for the same split; move those away, or give one of them as --root"
        )
    return {}


def class_folders(folder: Path, *, bare: bool = False) -> list[str]:
    """Names of the folders in a folder, sorted.

    Args:
        folder: with the classes.
        bare: do not ask that there are some and nothing else.

    Raises:
        ConfigError: it cannot be listed, has no folders, or images beside them.
    """
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


def unwrapped(folder: Path) -> Path:
    """The folder in which an archive holds its classes, or its splits: many have one folder on top of all."""
    while len(names := class_folders(folder)) == 1 and names[0].lower() not in SPLITS:
        if not class_folders(folder / names[0], bare=True):
            break
        folder = folder / names[0]
    return folder


def images_of(root: Path, folder: str, notes: Counter[str]) -> list[tuple[str, int]]:
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
