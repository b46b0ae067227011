"""What an evaluation is given: a frozen backbone and two labelled splits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rstrain.data.batch import mean_std
from rstrain.data.reading import complete, is_wide
from rstrain.evals.config import EvalConfig
from rstrain.evals.features import extract
from rstrain.evals.splits import Split, open_splits
from rstrain.interop.backbone import RANDOM, BackboneFacts, load_backbone
from rstrain.models.backbone import Backbone
from shards.errors import ConfigError
from shards.index import Index
from shards.reading import Reading

__all__ = ["Split", "Subject", "open_splits", "open_subject"]


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
    _cache: dict[tuple[int, float], tuple[Split, Tensor]] = field(default_factory=dict)
    """By the identity of the split, which is kept alive: two lists may have one name."""

    @property
    def size(self) -> int:
        """Side of the input, pixels."""
        return self.config.size or self.facts.size

    def features(self, split: Split, scale: float = 1.0) -> Tensor:
        """float32 [N, F] of the central crops, `scale` times the side of the input; computed once."""
        known = self._cache.get((id(split), scale))
        if known is None:
            title = f"features of {split.name}" + ("" if scale == 1 else f" at {scale:g}")
            known = split, self.apply(self.backbone, split, scale=scale, title=title)
            self._cache[id(split), scale] = known
        return known[1]

    def random_features(self, split: Split, epoch: int, seed: int) -> Tensor:
        """float32 [N, F] of one epoch's random crops."""
        return self.apply(self.backbone, split, epoch=epoch, seed=seed)

    def apply(
        self,
        model: nn.Module,
        split: Split,
        *,
        scale: float = 1.0,
        epoch: int | None = None,
        seed: int = 0,
        title: str = "",
    ) -> Tensor:
        """What a model says of each view, float32 [N, ...]: of its centre, or of the epoch's random crop."""
        c, size = self.config, self.side(scale)
        return extract(
            model,
            split.index,
            np.arange(len(split), dtype=np.int64),
            mean=self.facts.mean,
            std=self.facts.std,
            size=size,
            batch=c.batch,
            workers=c.workers,
            device=self.device,
            amp=c.amp,
            resize=c.resize,
            res=self.resolution(split, size),
            crop_epoch=epoch,
            seed=seed,
            title=title,
        )

    def side(self, scale: float) -> int:
        """Side of the input at a share of the full one, pixels.

        Raises:
            ConfigError: the model does not take it.
        """
        if scale == 1:
            return self.size
        side, patch = round(self.size * scale), self.patch
        if self.facts.arch.startswith("timm:vit") or (patch and (side < patch or side % patch)):
            raise ConfigError(
                f"scales: {self.facts.arch} does not take an input of {side} px ({scale:g} x {self.size}); "
                + (
                    f"it takes whole patches of {patch} px"
                    if patch and self.told
                    else "its positions fit one size"
                )
            )
        return side

    @property
    def patch(self) -> int | None:
        """Side of a patch of a vision transformer, pixels."""
        embed = getattr(self.backbone.net, "patch_embed", None)
        size = getattr(embed, "patch_size", None)
        return None if size is None else int(size[0])

    @property
    def told(self) -> bool:
        """Whether the model asks for the resolution of its input."""
        return self.facts.arch.startswith("gsd:")

    def resolution(self, split: Split, size: int) -> NDArray[np.float32] | None:
        """What a gsd: model is told of each view, [N]; None for the others.

        Raises:
            ConfigError: the true one is wanted, and the data do not have it.
        """
        if not self.told:
            return None
        c, n = self.config, len(split)
        if c.gsd != "true":
            scale = 224 / size if c.gsd == "relative" else 1.0
            return np.full(n, c.base_resolution * scale, np.float32)
        index = split.index
        gsd = index.column("gsd_m").astype(np.float64)
        bad = np.flatnonzero(~(gsd > 0))
        if len(bad):
            raise ConfigError(
                f"{index.store}: {len(bad):,} of {n:,} views of split {split.name!r} have no GSD above zero (the first is "
                f"{index.keys(bad[:1])[0]}): use --gsd fixed or relative"
            )
        across = np.minimum(index.column("width"), index.column("height"))
        if c.resize == "squash":
            across = index.column("width")
        metres: NDArray[np.float32] = (gsd * across / size).astype(np.float32)
        return metres


def open_subject(config: EvalConfig, device: torch.device, seed: int, *, several: bool = False) -> Subject:
    """Everything checked before the first pixel is read; `several`: an image may have several classes.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigError: it is another model than asked for, or takes other bands than the data has.
        ShardError: see `open_splits`.
    """
    train, test, classes = open_splits(config, several=several)
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
    if config.gsd != "fixed" and not facts.arch.startswith("gsd:") and not getattr(config, "scales", ()):
        raise ConfigError(f"--gsd {config.gsd}: {facts.arch} is told no resolution; only gsd: models are")
    if config.checkpoint != RANDOM:
        train, test = (replace(split, index=read_as_trained(split.index, facts)) for split in (train, test))
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


def read_as_trained(index: Index, facts: BackboneFacts) -> Index:
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
