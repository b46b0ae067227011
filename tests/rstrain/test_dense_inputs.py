"""What dense evaluations are given: crops, presets, and targets that say nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from builders import Place, build_set, pattern
from rstrain.dense.boxes import BoxReader
from rstrain.dense.loop import rate
from rstrain.dense.masks import Cropping, MaskReader, MaskSteps
from rstrain.evals.dense import run_dense
from rstrain.evals.dense_config import ChangeConfig, DetectConfig, SegmentConfig
from rstrain.evals.detect import body_of
from rstrain.models.backbone import build_backbone
from shards.dataset import Target
from shards.errors import ConfigError, ShardError
from shards.targets import BOXES, IGNORE, MASK, Box, encode_boxes, encode_mask

torch.set_num_threads(1)
COMMON: dict[str, Any] = {"arch": "resnet18", "size": 64, "device": "cpu", "workers": 0}


def test_crops_are_a_function_of_seed_epoch_and_place(tmp_path: Path) -> None:
    mask = np.arange(40 * 52, dtype=np.int64).reshape(40, 52) % 5
    mask[:, 30:] = 0
    images = [np.repeat((mask * 50)[..., None], 3, axis=2).astype(np.uint8)] * 6
    places = [Place([image], members={MASK: encode_mask(mask)}) for image in images]
    index = build_set(tmp_path / "set", places, targets=[Target(member=MASK, classes=list("abcde"))])
    config = SegmentConfig(data="-", train_batch=4, vflip=0.5, turns=True)
    reader = MaskReader(index, dates=1, classes=5)

    def batches(rank: int, world: int, side: int = 16, **scale: float) -> list[Any]:
        steps = MaskSteps(config, Cropping(side, **scale), reader, seed=1, rank=rank, world=world)
        return [steps[step] for step in range(3)]

    whole, parts = batches(0, 1), [batches(rank, 2) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        joined = np.concatenate([part[step].images[0] for part in parts])
        assert np.array_equal(batch.images[0], joined), "ranks end to end are the step"
        assert np.array_equal(batch.images[0][:, 0], batch.masks * 50), "image and mask move together"
    assert not np.array_equal(whole[0].images[0], whole[1].images[0])
    small = batches(0, 1, 64)[0]
    assert small.masks.shape == (4, 64, 64)
    assert (small.masks == IGNORE).sum() == 4 * (64 * 64 - 40 * 52), "what is added is ignored"
    larger = batches(0, 1, 16, scale_low=2.0, scale_high=2.0)[0]
    assert np.array_equal(np.unique(larger.masks), np.unique(mask)), "the mask keeps its classes"
    few = Cropping(16, most_of_one=0.6)
    for step in range(3):
        masks = MaskSteps(config, few, reader, seed=1, rank=0, world=1)[step].masks
        assert all(np.bincount(m.ravel()).max() <= 0.6 * 256 for m in masks), "no crop of one class alone"


def test_targets_without_content_are_refused(tmp_path: Path) -> None:
    def pixels(name: str, learnt: int, scored: int, dates: int, classes: tuple[str, ...] = ("a", "b")) -> str:
        fills = [("train", learnt)] * 4 + [("test", scored)]
        places = [
            Place(
                [pattern(9 * i + date) for date in range(dates)],
                split=split,
                members={MASK: encode_mask(np.full((48, 48), fill, np.uint8))},
            )
            for i, (split, fill) in enumerate(fills)
        ]
        build_set(tmp_path / name, places, targets=[Target(member=MASK, classes=list(classes))])
        return str(tmp_path / name)

    short: dict[str, Any] = {**COMMON, "size": 32, "train_batch": 2, "epochs": 0.5}
    for error, match, config in (
        (ShardError, "masks have one class", SegmentConfig(data=pixels("one", 0, 0, 1, ("a",)), **short)),
        (
            ConfigError,
            "every pixel seen of split 'train' is ignored",
            SegmentConfig(data=pixels("blank", IGNORE, 0, 1), **short),
        ),
        (
            ConfigError,
            "every pixel of split 'test' is ignored",
            SegmentConfig(data=pixels("unscored", 0, IGNORE, 1), **short),
        ),
        (
            ShardError,
            "no pixel of what is scored has changed",
            ChangeConfig(data=pixels("same", 1, 0, 2), **short),
        ),
        (
            ShardError,
            "no pixel of split 'train' has changed.*choose another --train-split",
            ChangeConfig(data=pixels("still", 0, 1, 2), **short),
        ),
    ):
        with pytest.raises(error, match=match):
            run_dense(config)
    config = DetectConfig(data="-", min_sizes=(64,), max_size=96)
    far, flat = Box(7, 5, 5, 20, 20), Box(0, 5, 5, 5, 20)
    for number, (box, match) in enumerate(((far, "sample place-00000: .*class"), (flat, "has no area"))):
        folder = tmp_path / f"boxes-{number}"
        place = Place([pattern(0)], members={BOXES: encode_boxes([box])})
        index = build_set(folder, [place], targets=[Target(member=BOXES, classes=["a", "b"])])
        with pytest.raises(ShardError, match=match):
            BoxReader(index, masks=False).read(0)
    bench = SimpleNamespace(backbone=build_backbone("timm:vit_tiny_patch16_224", size_px=64), norm="eval")
    with pytest.raises(ConfigError, match="--min-sizes 64 --max-size 64"):
        body_of(config, bench)


def test_presets_are_the_published_settings_and_yield_to_options() -> None:
    gersp = DetectConfig(data="-", preset="gersp", lr=0.005)
    assert (gersp.lr, gersp.epochs, gersp.milestones, gersp.clip) == (0.005, 24, (16, 22), 35)
    assert (gersp.nms, gersp.detections, gersp.max_dets, gersp.trainable) == (0.3, 600, (100, 300, 1000), 5)
    assert DetectConfig(data="-", preset="gersp-baseline").trainable == 3
    assert DetectConfig(data="-", preset="crowdai").min_sizes[-1] == 800
    flood = SegmentConfig(data="-", preset="floodnet")
    assert [rate(flood, epoch * 10, 400, 80) for epoch in (0, 30, 31, 39)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-5]
    )
    change = ChangeConfig(data="-")
    assert change.size == 96
    assert (change.optimizer, change.lr, change.gamma, change.trainable) == ("adam", 1e-3, 0.95, 0)
    only = (
        "import sys, rstrain.evals.dense_config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", only], check=True)
