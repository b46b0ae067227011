"""Paths with named parts, `{split}/images/{id}.png`: how the files of an image are found and belong together."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rsdata.sources.split_files import SPLITS
from shards.errors import ConfigError

Names = tuple[tuple[str, str], ...]
"""The named parts of a path, in the order of the names: (("id", "00001"), ("split", "val"))."""

_PART = re.compile(r"\{([a-z]+)\}|(\*)")


def names_in(pattern: str) -> list[str]:
    """Names between braces, sorted.

    Raises:
        ConfigError: a path that leaves the folder.
    """
    if pattern.startswith("/") or ".." in pattern.split("/"):
        raise ConfigError(f"{pattern}: leaves the folder of the archive; give a path relative to --root")
    return sorted({name for name, _ in _PART.findall(pattern) if name})


def find(root: Path, pattern: str) -> dict[str, tuple[Names, int]]:
    """Every file that a pattern fits: path relative to the root -> its named parts, its bytes.

    A name, and `*`, stands for any text without a slash; a name that occurs twice stands for the same text.

    Raises:
        ConfigError: no file fits, or the folder cannot be listed.
    """
    names_in(pattern)
    shape = _regex(pattern)
    fixed = _PART.split(pattern, maxsplit=1)[0].rpartition("/")[0]
    depth = pattern.count("/")
    found: dict[str, tuple[Names, int]] = {}

    def walk(folder: str) -> None:
        for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if path.count("/") < depth and entry.is_dir():
                if not entry.name.startswith(".") and entry.name != "__MACOSX":
                    walk(path)
            elif not entry.name.startswith(".") and (match := shape.fullmatch(path)):
                size = entry.stat().st_size if entry.is_file() else 0  # a broken link fails as gone, in sight
                found[path] = (tuple(sorted(match.groupdict().items())), size)

    try:
        walk(fixed)
    except OSError as error:
        raise ConfigError(
            f"{root / fixed}: cannot be listed ({error.strerror}); is --root the folder that holds {pattern}?"
        ) from None
    if not found:
        raise ConfigError(f"{root}: no file is like {pattern}; is --root the folder that holds it?")
    return found


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """The path that these names make; the caller sees to it that all are there and that there is no `*`."""
    return _PART.sub(lambda part: values[part[1]], pattern)


def by(names: Iterable[str], files: Mapping[str, tuple[Names, int]], pattern: str) -> dict[Names, str]:
    """The path of each set of these names.

    Raises:
        ConfigError: two files have the same.
    """
    wanted = set(names)
    out: dict[Names, str] = {}
    for path, (parts, _) in files.items():
        key = tuple(part for part in parts if part[0] in wanted)
        if key in out:
            said = ", ".join(f"{name} {value}" for name, value in key)
            raise ConfigError(
                f"{pattern}: {out[key]} and {path} are both of {said}; name what tells them apart"
            )
        out[key] = path
    return out


def split_in(parts: Names, pattern: str) -> str | None:
    """The split that a path tells; None where its pattern does not name one.

    Raises:
        ConfigError: another word stands there.
    """
    word = dict(parts).get("split")
    if word is None:
        return None
    if word.lower() not in SPLITS:
        raise ConfigError(
            f"{pattern}: {word!r} is no split; known: {', '.join(SPLITS)}; move that folder away"
        )
    return SPLITS[word.lower()]


def shares(groups: Iterable[str], *, val: float, test: float, seed: int) -> dict[str, str]:
    """A split for each group, exact shares over all of them, halves rounded up.

    Raises:
        ConfigError: nothing is left for train.
    """
    from shards.random import permute, stream

    known = sorted(set(groups))
    count = len(known)
    for_test, for_val = int(count * test + 0.5), int(count * val + 0.5)
    if for_test + for_val >= count and for_test + for_val:
        raise ConfigError(
            f"{count} images, {for_test} for test and {for_val} for val leave none for train; choose smaller fractions"
        )
    place = permute(range(count), count, stream("split/images"), seed).tolist()
    return {
        group: "test" if p < for_test else "val" if p < for_test + for_val else "train"
        for group, p in zip(known, place, strict=True)
    }


def counted(notes: Counter[str], what: str, count: int) -> None:
    """Add to the notes what is not zero."""
    if count:
        notes[what] += count


def _regex(pattern: str) -> re.Pattern[str]:
    out, seen, end = [], set(), 0
    for part in _PART.finditer(pattern):
        out.append(re.escape(pattern[end : part.start()]))
        end, name = part.end(), part[1]
        out.append("[^/]*" if name is None else f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+)")
        seen.add(name)
    return re.compile("".join(out) + re.escape(pattern[end:]))
