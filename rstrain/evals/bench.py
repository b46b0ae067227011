"""What dense evaluations are given: a backbone to be trained, and two splits with boxes or masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rstrain import distributed
from rstrain.data.batch import mean_std
from rstrain.data.opening import opened
from rstrain.data.reading import complete
from rstrain.dense.body import Norm
from rstrain.evals.dense_config import DenseConfig
from rstrain.evals.splits import parts_of
from rstrain.evals.subject import read_as_trained
from rstrain.interop.backbone import RANDOM, BackboneFacts, load_backbone
from rstrain.models.backbone import Backbone
from shards.errors import ConfigError, ShardError
from shards.index import Index


@dataclass
class Bench:
    """Checked before the first pixel is read."""

    backbone: Backbone
    facts: BackboneFacts
    train: Index
    test: Index
    train_split: str
    test_split: str
    classes: list[str]
    device: torch.device
    norm: Norm
    side: int
    """Side of what the network is trained on where a task cuts squares, pixels."""


def open_bench(config: DenseConfig, device: torch.device, seed: int, member: str) -> Bench:
    """The splits that have a target `member`, and the backbone that fits them.

    Raises:
        ShardError: no such target, or see `parts_of`.
        ConfigError: a checkpoint that does not fit, or see `parts_of`.
    """
    index = opened(config.data, config.cache, config.cache_gb)
    target = next((t for t in index.info.targets if t.member == member), None)
    if target is None:
        known = ", ".join(t.member for t in index.info.targets) or "none"
        raise ShardError(
            f"{index.store}: has no target {member}, which this evaluation is scored against; its targets: {known}"
        )
    (train_name, learnt), (test_name, scored) = parts_of(config, index)
    parts = [learnt, scored]
    bands = len(complete(index).reading.bands)
    backbone, facts = load_backbone(
        config.checkpoint,
        arch=config.arch,
        bands=bands,
        size=config.size if config.checkpoint == RANDOM else None,
        stem=config.stem,
        seed=seed,
        device="cpu",
    )
    if config.base_resolution != 1 and not facts.arch.startswith("gsd:"):
        raise ConfigError(
            f"--base-resolution {config.base_resolution:g}: {facts.arch} is told no resolution; only gsd: models are"
        )
    if config.checkpoint == RANDOM:
        parts = [complete(part) for part in parts]
        mean, std = mean_std(index.info, reading=parts[0].reading)
        facts = facts.model_copy(update={"mean": mean, "std": std})
    else:
        parts = [read_as_trained(part, facts) for part in parts]
        bands = len(parts[0].reading.bands)
    if facts.bands != bands:
        raise ConfigError(
            f"{config.checkpoint}: takes {facts.bands} bands, but {config.data} has {bands}: evaluate on data with the "
            "bands it was trained on"
        )
    norm: Norm = config.norm if config.norm != "auto" else "train" if config.checkpoint == RANDOM else "eval"
    train, scored = parts
    side = config.size or facts.size
    names = train_name, test_name
    return Bench(backbone, facts, train, scored, *names, list(target.classes), device, norm, side)


def joined(table: NDArray[np.float64], device: torch.device) -> NDArray[np.float64]:
    """Rows [N, K] of all ranks, those of the first rank first; N may differ."""
    if distributed.world_size() == 1:
        return table
    counts = distributed.gather(torch.tensor([len(table)], device=device))
    padded = torch.zeros((int(counts.max()), table.shape[1]), dtype=torch.float64, device=device)
    padded[: len(table)] = torch.from_numpy(table).to(device)
    whole: Tensor = distributed.gather(padded).cpu()
    parts = torch.split(whole, len(padded))
    return np.concatenate([part[: int(n)].numpy() for part, n in zip(parts, counts, strict=True)])
