"""Which labelled views an evaluation learns from, and which it scores."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rstrain.data.opening import opened
from rstrain.evals.common import CommonConfig
from rstrain.evals.config import EvalConfig
from rstrain.evals.separation import neighbourhoods
from shards.errors import ConfigError, ShardError
from shards.index import Index
from shards.random import permute, stream
from shards.targets import LABELS

_SPLIT_OFF, _FRACTION = stream("evals/split off"), stream("evals/fraction")


@dataclass(frozen=True)
class Split:
    """The labelled views of one split."""

    name: str
    index: Index
    label: NDArray[Any]
    """Positions in the list of classes, int64 [N]; of a set with several classes an image, uint8 [N, C] of 0 and 1."""
    place: NDArray[np.int64]
    """Number of the place each view belongs to, [N]."""

    def __len__(self) -> int:
        return len(self.label)

    @cached_property
    def keys(self) -> list[str]:
        """Key of the sample of each view."""
        return self.index.keys(np.arange(len(self)))

    @property
    def places(self) -> int:
        """How many places there are."""
        return len(np.unique(self.place))

    @property
    def square(self) -> bool:
        """Whether no view has more to crop than its short side."""
        return bool(np.array_equal(self.index.column("width"), self.index.column("height")))

    def take(self, rows: NDArray[np.int64]) -> Split:
        """Some of the views."""
        return Split(self.name, self.index.take(rows), self.label[rows], self.place[rows])


def open_splits(config: EvalConfig, *, several: bool = False) -> tuple[Split, Split, list[str]]:
    """Train split, test split and class names.

    Args:
        config: where the set is and what of it is wanted.
        several: labels are vectors: several classes an image.

    Raises:
        ShardError: views without a label, a label outside the classes, or see `parts_of`.
        ConfigError: see `parts_of`.
    """
    index = opened(config.data, config.cache, config.cache_gb)
    train, test = parts_of(config, index)
    classes = _classes(index, several)
    found = [(_vectors if several else _classed)(name, part, classes) for name, part in (train, test)]
    if not several and len(np.unique(found[0].label)) < 2:
        raise ShardError(
            f"{index.store}: all {len(found[0]):,} views of {train[0]!r} are of one class, so there is nothing to tell apart: "
            "give a set, a split or a list with two classes or more"
        )
    if not classes:
        classes = [str(i) for i in range(1 + max(int(s.label.max()) for s in found))]
    return found[0], found[1], classes


def fraction_of(split: Split, fraction: float, seed: int) -> NDArray[np.int64]:
    """Rows of a share of the places, at least one a class: as many places of each class as there are to go round.

    Every view of a chosen place is in. Places stand in a seeded order, so the places of a smaller share are among those
    of a larger one. Where a place has several classes the order alone decides.
    """
    places, first, number = np.unique(split.place, return_index=True, return_inverse=True)
    order = permute(np.arange(len(places)), len(places), _FRACTION, seed)
    wanted = max(1, round(fraction * len(places)))
    if split.label.ndim > 1:
        return np.flatnonzero((order < wanted)[number])
    label = split.label[first]
    counts = np.unique(label, return_counts=True)[1]
    level = _level(counts, max(wanted, len(counts)))
    chosen = np.zeros(len(places), bool)
    rest: list[int] = []
    for value in np.unique(label):
        own = np.flatnonzero(label == value)
        own = own[np.argsort(order[own])]
        chosen[own[:level]] = True
        rest.extend(own[level : level + 1])
    spare = sorted(rest, key=lambda place: int(order[place]))[: max(0, wanted - int(chosen.sum()))]
    chosen[spare] = True
    return np.flatnonzero(chosen[number])


def _level(counts: NDArray[np.int64], wanted: int) -> int:
    """The most places that each class may give without passing `wanted` in all."""
    level = 0
    while level < counts.max() and np.minimum(counts, level + 1).sum() <= wanted:
        level += 1
    return level


def parts_of(config: CommonConfig, index: Index) -> tuple[tuple[str, Index], tuple[str, Index]]:
    """Name and rows of what is learnt from, and of what is scored.

    Raises:
        ShardError: no such split, or a list that names what the set does not have.
        ConfigError: both are the same or share samples, or settings are at odds.
    """
    known = sorted({str(s) for s in index.table["split"].to_pylist() if s is not None})
    if config.split_off is not None:
        if config.train_list or config.test_list or config.test_split:
            raise ConfigError(
                "--split-off makes the test of the training split: leave out --test-split and lists"
            )
        name = _known(index, config.train_split, known, "--train-split")
        return _halves(index.where(split=name), name, config.split_off, config.apart_km)
    if config.apart_km is not None:
        raise ConfigError(
            "--apart-km says how --split-off divides the places: give --split-off too, or leave it out"
        )
    default = next((name for name in ("test", "val") if name in known), None)
    if config.train_list is not None:
        train = (config.train_list.stem, index.take(listed(index, config.train_list)))
    else:
        name = _known(index, config.train_split, known, "--train-split")
        train = (name, index.where(split=name))
    if config.test_list is not None:
        test = (config.test_list.stem, index.take(listed(index, config.test_list)))
    else:
        name = _known(index, config.test_split or default, known, "--test-split")
        if name == config.train_split and config.train_list is None:
            raise ConfigError(f"train and test split are both {name!r}: the scores would mean nothing")
        test = (name, index.where(split=name))
    if config.train_list or config.test_list:
        learnt, scored = (set(part.keys(np.arange(len(part)))) for _, part in (train, test))
        if shared := learnt & scored:
            raise ConfigError(
                f"{len(shared):,} samples are both learnt from and scored (the first is {min(shared)}): give lists that "
                "share none"
            )
    return train, test


def _known(index: Index, name: str | None, known: list[str], option: str) -> str:
    if name is not None and name in known:
        return name
    found = f"no split {name!r}" if name else "neither a split 'test' nor 'val'"
    more = "" if name else ", or make a test of the training split with --split-off 0.1"
    raise ShardError(f"{index.store}: has {found}; it has {', '.join(known)}: choose with {option}{more}")


def _halves(
    index: Index, name: str, share: float, apart_km: float | None
) -> tuple[tuple[str, Index], tuple[str, Index]]:
    """Whole places, or whole neighbourhoods of them, to either side, always the same ones."""
    first, place = np.unique(index.places()[0], return_inverse=True)
    group = np.arange(len(first)) if apart_km is None else neighbourhoods(index, first, apart_km)
    size = np.bincount(group)
    if len(size) < 2:
        chain = f" or neighbourhood of {apart_km:g} km" if apart_km else ""
        raise ConfigError(f"{index.store}: split {name!r} is one place{chain}, which cannot be split in two")
    wanted = max(1, round(share * len(first)))
    scored = np.zeros(len(size), bool)
    order = permute(np.arange(len(size)), len(size), _SPLIT_OFF)
    for number in np.argsort(order):  # in this order, as long as they fit
        if scored.sum() < len(size) - 1 and size[scored].sum() + size[number] <= wanted:
            scored[number] = True
    if not scored.any():
        raise ConfigError(
            f"{index.store}: the smallest neighbourhood of {apart_km or 0:g} km holds {size.min():,} of {len(first):,} places, "
            f"more than the share {share:g}: give a smaller --apart-km or a larger --split-off"
        )
    seen = scored[group][place]
    far = "" if apart_km is None else f", {apart_km:g} km apart"
    return (
        (name, index.take(np.flatnonzero(~seen))),
        (f"{name}, {share:g} split off{far}", index.take(np.flatnonzero(seen))),
    )


def listed(index: Index, file: Path) -> NDArray[np.int64]:
    """Rows of the samples that a list names, one a line, in the order of the index.

    A line is a key, a path in the archive, or the end of one after a slash; a leading `./` means nothing.

    Raises:
        ConfigError: the file cannot be read, or is empty.
        ShardError: a line names no sample, or several.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as a list of samples ({error})") from None
    names = [line.strip().removeprefix("./") for line in lines if line.strip()]
    if not names:
        raise ConfigError(f"{file}: is empty; expected one key or path a line")
    keys, sources = (index.table[column].to_pylist() for column in ("key", "source"))
    rows: dict[str, set[int]] = defaultdict(set)
    for row, key in enumerate(keys):
        rows[key].add(row)
    for depth in sorted({name.count("/") + 1 for name in names}):
        for row, source in enumerate(sources):
            if source:
                rows["/".join(source.split("/")[-depth:])].add(row)
    unknown = [name for name in names if name not in rows]
    if unknown:
        raise ShardError(
            f"{file}: {len(unknown):,} of {len(names):,} lines name no sample of {index.store} (the first is {unknown[0]}); "
            "expected keys, or paths as in the column `source` of index.parquet"
        )
    for name in names:
        if len({keys[row] for row in rows[name]}) > 1:
            raise ShardError(f"{file}: {name} names several samples of {index.store}: give longer paths")
    return np.array(sorted(set().union(*(rows[name] for name in names))), np.int64)


def _classes(index: Index, several: bool) -> list[str]:
    if not several:
        return list(index.info.classes)
    found = next((t.classes for t in index.info.targets if t.member == LABELS), None)
    if not found:
        raise ShardError(
            f"{index.store}: has no {LABELS}, so no image has several classes: give a multi-label set such as BigEarthNet, "
            "or use `rstrain eval linear`"
        )
    return list(found)


def _classed(name: str, part: Index, classes: list[str]) -> Split:
    column = part.column("label")
    missing = np.flatnonzero(np.isnan(column)) if column.dtype.kind == "f" else np.empty(0, np.int64)
    if len(missing):
        raise ShardError(
            f"{part.store}: {len(missing):,} of {len(part):,} views of split {name!r} have no label (the first is "
            f"{part.keys(missing[:1])[0]}); this evaluation needs a labelled set"
        )
    label = column.astype(np.int64)
    outside = np.flatnonzero((label < 0) | ((label >= len(classes)) & bool(classes)))
    if len(outside):
        raise _outside(part, int(outside[0]), int(label[outside[0]]), len(classes))
    return Split(name, part, label, part.places()[0])


def _vectors(name: str, part: Index, classes: list[str]) -> Split:
    if "labels" not in part.table.column_names:
        raise ShardError(
            f"{part.store}: index.parquet has no column `labels`; rebuild the set with this version"
        )
    column = part.table["labels"]
    if column.null_count:
        raise ShardError(
            f"{part.store}: {column.null_count:,} of {len(part):,} views of split {name!r} have no labels; this evaluation "
            "needs a multi-label set"
        )
    label = np.zeros((len(part), len(classes)), np.uint8)
    for row, positions in enumerate(column.to_pylist()):
        if any(not 0 <= at < len(classes) for at in positions):
            raise _outside(part, row, positions, len(classes))
        label[row, positions] = 1
    return Split(name, part, label, part.places()[0])


def _outside(part: Index, row: int, label: Any, classes: int) -> ShardError:
    return ShardError(
        f"{part.store}: label {label} of sample {part.keys([row])[0]} is outside the {classes} "
        "classes of dataset.json: the index and the classes do not belong together, rebuild the set"
    )
