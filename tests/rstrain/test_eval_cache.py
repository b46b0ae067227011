"""Evaluations of a set behind a URL: with a cache each shard is fetched once, and the scores are those of the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import Place, build_set, pattern
from rstrain.evals.base import run_eval
from rstrain.evals.config import KnnConfig
from rstrain.evals.dense import run_dense
from rstrain.evals.dense_config import DetectConfig, SegmentConfig
from shard_host import hosted
from shards.dataset import Target
from shards.errors import ConfigError
from shards.index import Index
from shards.targets import BOXES, MASK, Box, encode_boxes, encode_mask

torch.set_num_threads(1)
COMMON: dict[str, Any] = {"arch": "resnet18", "size": 32, "device": "cpu", "workers": 0}
SHORT: dict[str, Any] = {"train_batch": 2, "epochs": 0.25}


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[str, Index, list[str]]]:
    """URL of a set of four shards with labels, masks and boxes; the set itself, and what is asked for."""
    members = {
        MASK: encode_mask(np.tri(48, dtype=np.uint8)),
        BOXES: encode_boxes([Box(0, 4, 4, 20, 20)]),
    }
    places = [
        Place([pattern(i)], label=i % 2, split="train" if i < 8 else "test", members=members)
        for i in range(16)
    ]
    targets = [Target(member=MASK, classes=["a", "b"]), Target(member=BOXES, classes=["square"])]
    local = build_set(tmp_path / "set", places, samples_per_shard=4, targets=targets)
    with hosted(tmp_path / "set") as (url, asked):
        yield url, local, asked


def test_each_shard_is_fetched_once_for_all_tasks(
    remote: tuple[str, Index, list[str]], tmp_path: Path
) -> None:
    url, local, asked = remote
    here: dict[str, Any] = COMMON | {"data": str(local.store)}
    there: dict[str, Any] = COMMON | {"data": url, "cache": tmp_path / "cache"}
    assert run_eval(KnnConfig(**there, k=3)).outcome == run_eval(KnnConfig(**here, k=3)).outcome
    assert sorted(asked) == sorted(2 * [shard.name for shard in local.info.shards]), "once, and once in vain"
    segment = run_dense(SegmentConfig(**there, **SHORT)).outcome
    assert segment == run_dense(SegmentConfig(**here, **SHORT)).outcome
    leaked = run_eval(KnnConfig(**here, k=3, cache=tmp_path / "cache", pretrained_on=url)).leakage
    assert leaked is not None and leaked["same_set"] and leaked["look_alikes"]["bits"]
    assert len(asked) == 2 * len(local.info.shards), "the others found them in the cache"
    held = {path.name for path in (tmp_path / "cache").glob("*.tar")}
    assert held == {f"{shard.sha256}.tar" for shard in local.info.shards}


@pytest.mark.parametrize("task", [SegmentConfig, DetectConfig])
def test_a_cache_that_mixed_reading_would_fill_again_and_again_is_refused(
    remote: tuple[str, Index, list[str]], tmp_path: Path, task: Any
) -> None:
    url, local, _ = remote
    one = max(shard.bytes for shard in local.info.shards)
    small = COMMON | SHORT | {"data": url, "cache": tmp_path / "cache", "cache_gb": 1.5 * one / 1e9}
    with pytest.raises(ConfigError, match=r"--cache-gb \S+: .* use --cache-gb 0\.\d+ or more"):
        run_dense(task(**small))
