"""Lists of the images of each split, in the formats in which benchmarks publish them; a file's name tells the split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shards.errors import ConfigError

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""What archives call a split -> what we do."""


class Line(NamedTuple):
    """One image of a list."""

    path: str
    """Relative, without a leading `./`."""
    label: int | None
    """Where the list has one."""
    split: str
    where: str
    """`val.txt, line 7`, for messages."""


def split_of(file: Path) -> str:
    """The split that the name of a list tells: `train.txt`, `eurosat-val.txt`.

    Raises:
        ConfigError: it tells none, or two.
    """
    words = re.split(r"[^a-z]+", file.stem.lower())
    found = {SPLITS[word] for word in words if word in SPLITS}
    if len(found) != 1:
        raise ConfigError(f"{file}: the name of a list must tell its split: one of train, val, test")
    return found.pop()


def read_lines(file: Path) -> list[str]:
    """The lines of a list that are not empty.

    Raises:
        ConfigError: it cannot be read, or has none.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); give a text file, one entry a line") from None
    if not any(lines):
        raise ConfigError(f"{file}: is empty; expected one entry a line")
    return lines


def read_images(files: Sequence[Path]) -> list[Line]:
    """Lists with `path` or `path label` a line, the label after the last space.

    That holds for the lists of Scale-MAE (`./class/file`, mae/splits), of GeRSP and MMSelfSup (`path label`,
    data/ImageNet/meta) and of google-research for EuroSAT (bare file names).

    Raises:
        ConfigError: an unreadable file, a path that leaves the folder, or an image that stands there twice.
    """
    seen: dict[str, str] = {}
    out = []
    for file in files:
        split = split_of(file)
        for number, text in enumerate(read_lines(file), start=1):
            if not text:
                continue
            path, space, tail = text.rpartition(" ")
            label = int(tail) if space and tail.isdecimal() else None
            path = (text if label is None else path.rstrip()).removeprefix("./")
            where = f"{file.name}, line {number}"
            if path.startswith("/") or ".." in path.split("/"):
                raise ConfigError(f"{where}: {path!r} leaves the folder of the archive")
            if path in seen:
                raise ConfigError(
                    f"{where}: {path!r} stands in {seen[path]} too; an image belongs to one split, once"
                )
            seen[path] = where
            out.append(Line(path, label, split, where))
    return out


def labelled(rows: Sequence[tuple[str, Line]], classes: list[str], *, fixed: bool) -> list[str]:
    """The class names in the order of the labels that lists have; `classes` where they have none.

    Args:
        rows: class of each line.
        classes: names in the order that holds without a list.
        fixed: the user gave that order: labels must follow it.

    Raises:
        ConfigError: some lines have no label, a class has two, or the labels are not 0, 1, 2, …
    """
    with_label = [(name, line) for name, line in rows if line.label is not None]
    if not with_label:
        return classes
    label_of: dict[str, int] = {}
    for name, line in rows:
        if line.label is None:
            raise ConfigError(f"{line.where}: has no label, and other lines have one")
        if label_of.setdefault(name, line.label) != line.label:
            raise ConfigError(
                f"{line.where}: class {name!r} has label {line.label}, and {label_of[name]} above"
            )
    order = sorted(label_of, key=lambda name: (label_of[name], name))
    if [label_of[name] for name in order] != list(range(len(order))):
        raise ConfigError(
            f"{with_label[0][1].where}: the labels of the lists are {sorted(label_of.values())[:5]}…; expected one for "
            "each class folder, from 0 without a gap"
        )
    if fixed and order != classes:
        raise ConfigError(
            f"the labels of the lists name {order[0]!r} first, --classes {classes[0]!r}; leave one of them out"
        )
    return order


def read_names(files: Sequence[Path]) -> dict[str, str]:
    """Names in CSV or text lists -> split; every cell of a row is a name (BigEarthNet lists `S2 patch,S1 patch`).

    Raises:
        ConfigError: an unreadable file, or a name in the lists of two splits.
    """
    out: dict[str, str] = {}
    for file in files:
        split = split_of(file)
        for text in read_lines(file):
            for name in filter(None, (cell.strip() for cell in text.split(","))):
                if out.setdefault(name, split) != split:
                    raise ConfigError(
                        f"{file}: {name!r} is in the list of {out[name]} too; each belongs to one split"
                    )
    return out
