"""What an evaluation is given: a frozen backbone and two labelled splits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rstrain.data.batch import mean_std
from rstrain.data.reading import complete, is_wide
from rstrain.evals.config import EvalConfig
from rstrain.evals.features import extract
from rstrain.interop.backbone import RANDOM, BackboneFacts, load_backbone
from rstrain.models.backbone import Backbone
from shards.errors import ConfigError, ShardError
from shards.index import Index
from shards.reading import Reading


@dataclass(frozen=True)
class Split:
    """The labelled views of one split."""

    name: str
    index: Index
    label: NDArray[np.int64]
    """Positions in the list of classes, [N]."""
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


@dataclass
class Subject:
    """A backbone, the data it is judged on, and the features it gives."""

    config: EvalConfig
    backbone: Backbone
    facts: BackboneFacts
    train: Split
    test: Split
    classes: list[str]
    device: torch.device
    _cache: dict[str, Tensor] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        return self.config.size or self.facts.size

    def features(self, split: Split) -> Tensor:
        """float32 [N, F] of the central crops; computed once."""
        if split.name not in self._cache:
            self._cache[split.name] = self._extract(split, None, 0, f"features of {split.name}")
        return self._cache[split.name]

    def random_features(self, split: Split, epoch: int, seed: int) -> Tensor:
        """float32 [N, F] of one epoch's random crops."""
        return self._extract(split, epoch, seed, "")

    def _extract(self, split: Split, epoch: int | None, seed: int, title: str) -> Tensor:
        c = self.config
        return extract(
            self.backbone,
            split.index,
            np.arange(len(split), dtype=np.int64),
            mean=self.facts.mean,
            std=self.facts.std,
            size=self.size,
            batch=c.batch,
            workers=c.workers,
            device=self.device,
            amp=c.amp,
            resize=c.resize,
            crop_epoch=epoch,
            seed=seed,
            title=title,
        )


def open_splits(config: EvalConfig) -> tuple[Split, Split, list[str]]:
    """Train split, test split and class names.

    Raises:
        ShardError: no such split, views without a label, or a label outside the classes.
    """
    index = Index.open(config.data)
    known = sorted({str(s) for s in index.table["split"].to_pylist() if s is not None})
    test = config.test_split or next((name for name in ("test", "val") if name in known), None)
    for name, option in ((config.train_split, "--train-split"), (test, "--test-split")):
        if name not in known:
            found = f"no split {name!r}" if name else "neither a split 'test' nor 'val'"
            raise ShardError(f"{index.store}: has {found}; it has {', '.join(known)}: choose with {option}")
    if test == config.train_split:
        raise ConfigError(f"train and test split are both {test!r}: the scores would mean nothing")
    assert test is not None
    splits = [_labelled(index, name) for name in (config.train_split, test)]
    classes = list(index.info.classes)
    if not classes:
        classes = [str(i) for i in range(1 + max(int(s.label.max()) for s in splits))]
    for split in splits:
        outside = np.flatnonzero((split.label < 0) | (split.label >= len(classes)))
        if len(outside):
            at = int(outside[0])
            raise ShardError(
                f"{index.store}: label {split.label[at]} of sample {split.keys[at]} is outside the {len(classes)} "
                "classes of dataset.json: the index and the classes do not belong together, rebuild the set"
            )
    return splits[0], splits[1], classes


def _labelled(index: Index, name: str) -> Split:
    part = index.where(split=name)
    label = part.column("label")
    missing = np.flatnonzero(np.isnan(label)) if label.dtype.kind == "f" else np.empty(0, np.int64)
    if len(missing):
        raise ShardError(
            f"{index.store}: {len(missing):,} of {len(part):,} views of split {name!r} have no label (the first is "
            f"{part.keys(missing[:1])[0]}); this evaluation needs a labelled set"
        )
    return Split(name, part, label.astype(np.int64), part.places()[0])


def open_subject(config: EvalConfig, device: torch.device, seed: int) -> Subject:
    """Everything checked before the first pixel is read.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: it is another model than asked for, or takes other bands than the data has.
        ShardError: see `open_splits`.
    """
    train, test, classes = open_splits(config)
    bands = len(complete(train.index).reading.bands)
    backbone, facts = load_backbone(
        config.checkpoint,
        arch=config.arch,
        bands=bands,
        size=config.size,
        stem=config.stem,
        seed=seed,
        device=device,
    )
    backbone.pool_by(config.pool)
    if config.checkpoint != RANDOM:
        train, test = (replace(split, index=_read_as_trained(split.index, facts)) for split in (train, test))
        bands = len(train.index.reading.bands)
    if facts.bands != bands:
        raise ConfigError(
            f"{config.checkpoint}: takes {facts.bands} bands, but {config.data} has {bands}: evaluate on data with the "
            "bands it was trained on"
        )
    if config.checkpoint == RANDOM:
        train, test = (replace(split, index=complete(split.index)) for split in (train, test))
        mean, std = mean_std(train.index.info, reading=train.index.reading)
        facts = facts.model_copy(update={"mean": mean, "std": std})
    return Subject(config, backbone, facts, train, test, classes, device)


def _read_as_trained(index: Index, facts: BackboneFacts) -> Index:
    """The bands of the training and its levels, where the data has these bands; else the data as it is."""
    known = {band.name for band in index.info.bands}
    named = bool(facts.band_names) and known >= set(facts.band_names)
    if is_wide(index.info) != bool(facts.low) and (named or facts.bands == len(known)):
        which = "wider than 8 bits" if facts.low else "of 8 bits"
        raise ConfigError(
            f"the backbone was trained on numbers {which}, but {index.store} has others: evaluate on data of the same kind"
        )
    if not named:
        return index
    return index.read_as(Reading(facts.band_names, facts.low, facts.high, facts.whole))
