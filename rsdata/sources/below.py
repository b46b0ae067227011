"""Image files below a folder, however deep, in a fixed order."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rsdata.sources.class_folders import IMAGES
from shards.errors import ConfigError

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".7z", ".rar")


def images_below(root: Path, folder: str, notes: Counter[str]) -> Iterator[tuple[str, int]]:
    """Path relative to the root and bytes of each image; other files are counted.

    Hidden files, and the companions that macOS leaves in archives, are passed over.

    Args:
        root: of the archive.
        folder: below it, without a slash at its end.
        notes: where other files are counted, by ending.

    Raises:
        ConfigError: it cannot be listed, or an archive lies there that nobody unpacked.
    """
    try:
        entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(
            f"{root / folder}: cannot be listed ({error.strerror}); check --root and its rights"
        ) from None
    for entry in entries:
        path = f"{folder}/{entry.name}"
        name = entry.name.lower()
        if name.startswith(".") or name == "__macosx":
            continue
        if entry.is_dir():
            yield from images_below(root, path, notes)
        elif name.endswith(ARCHIVES):
            raise ConfigError(
                f"{root / path}: is an archive among the images; unpack it there and remove it, else its images would be "
                "missing without a word"
            )
        elif "." in name and name.rsplit(".", 1)[1] in IMAGES:
            # A broken link is listed, too: it fails as gone, in sight.
            yield path, entry.stat().st_size if entry.is_file() else 0
        else:
            notes[f"ignored: .{name.rpartition('.')[2]}"] += 1


def folders_in(folder: Path) -> list[str]:
    """Names of the folders directly in a folder, sorted, without hidden ones; none where it is not there."""
    if not folder.is_dir():
        return []
    return sorted(
        e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith((".", "__MACOSX"))
    )
