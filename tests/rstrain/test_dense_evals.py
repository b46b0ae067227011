"""Detection, segmentation and change from a config to a scores file, on real shards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from builders import Place, build_set, pattern
from rstrain.dense.body import Body
from rstrain.dense.boxes import BoxReader
from rstrain.dense.detectors import build_detector
from rstrain.dense.masks import MaskReader
from rstrain.dense.segmenters import build_segmenter
from rstrain.evals import segment as segmentation
from rstrain.evals.bench import open_bench
from rstrain.evals.change import train as train_change
from rstrain.evals.dense import run_dense
from rstrain.evals.dense_config import ChangeConfig, DetectConfig, SegmentConfig
from rstrain.evals.detect import body_of, score
from rstrain.evals.masks import confusions
from rstrain.interop.backbone import BackboneFacts, load_backbone, save_backbone
from rstrain.models.backbone import build_backbone
from rstrain.models.init import seeded
from scenes import build_boxes, build_masks, build_pairs
from shards.dataset import Target
from shards.errors import ConfigError, ShardError
from shards.index import Index
from shards.targets import BOXES, MASK, encode_mask

torch.set_num_threads(1)
CPU = torch.device("cpu")
COMMON: dict[str, Any] = {"arch": "resnet18", "size": 64, "device": "cpu", "workers": 0}
TINY: dict[str, Any] = {
    "min_sizes": (64,),
    "max_size": 64,
    "anchor_px": 16,
    "proposals": 60,
    "rois": 16,
    "train_batch": 4,
    "lr": 0.01,
    "clip": 10.0,
    "warmup_steps": 5,
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    build_boxes(folder / "boxes")
    build_masks(folder / "masks")
    build_pairs(folder / "pairs")
    return folder


@pytest.mark.slow
def test_a_detector_learns_to_find_boxes(sets: Path, tmp_path: Path) -> None:
    config = DetectConfig(data=str(sets / "boxes"), epochs=5, out=tmp_path / "d.json", **TINY, **COMMON)
    scores = run_dense(config)
    assert scores.scores["ap50_percent"] > 35, "the untrained one is near 0"
    low, high = scores.outcome.intervals["ap50_percent"]
    assert low <= scores.scores["ap50_percent"] <= high
    written = json.loads((tmp_path / "d.json").read_text())
    assert written["task"] == "detect" and written["data"]["classes"] == ["square", "bar"]
    assert written["data"]["fingerprint"] == Index.open(sets / "boxes").info.fingerprint
    assert set(written["outcome"]["details"]["per_class_percent"]) == {"square", "bar"}
    assert written["protocol"]["norm"] == "train", "random weights have no statistics to keep"
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")


def test_mask_rcnn_is_scored_on_outlines_too(sets: Path) -> None:
    small = TINY | {"train_batch": 2, "rois": 8, "proposals": 20, "detections": 10}
    config = DetectConfig(data=str(sets / "boxes"), model="mask-rcnn", epochs=1 / 12, **small, **COMMON)
    scores = run_dense(config)
    assert {"ap_percent", "mask_ap_percent", "voc_ap50_percent"} <= set(scores.scores)
    assert set(scores.outcome.intervals) == {"ap50_percent", "mask_ap50_percent"}


@pytest.mark.slow
def test_a_segmenter_learns_and_the_same_seed_gives_the_same_scores(sets: Path, tmp_path: Path) -> None:
    config = SegmentConfig(
        data=str(sets / "masks"), train_batch=4, epochs=5, out=tmp_path / "s.json", **COMMON
    )
    scores = run_dense(config)
    assert scores.scores["miou_percent"] > 60, "all ground would have 29"
    assert sum(map(sum, scores.outcome.confusion or ())) == 12 * 63 * 64, "every pixel but the ignored row"
    assert [row.name for row in scores.outcome.per_class] == ["ground", "square", "bar"]
    short = config.model_copy(update={"epochs": 1.0, "out": None})
    assert run_dense(short).outcome == run_dense(short.model_copy(update={"batch": 5, "workers": 2})).outcome


@pytest.mark.slow
def test_change_is_learnt_on_an_encoder_that_stays_as_it_was(sets: Path, tmp_path: Path) -> None:
    file = tmp_path / "backbone.safetensors"
    save_backbone(file, build_backbone("resnet18", seed=4), BackboneFacts(arch="resnet18", size=64))
    config = ChangeConfig(
        data=str(sets / "pairs"),
        checkpoint=str(file),
        epochs=6,
        train_batch=8,
        device="cpu",
        workers=0,
        size=64,
    )
    bench = open_bench(config, CPU, 0, MASK)
    train_change(config.model_copy(update={"epochs": 1.0}), bench, 0)
    before = load_backbone(file)[0].net.state_dict()
    after = bench.backbone.net.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "parameters and buffers"
    scores = run_dense(config).scores
    assert scores["f1_percent"] > 60, "calling everything changed would give 25"
    assert set(scores) >= {"batch_mean_f1_percent", "precision_percent", "recall_percent", "iou_percent"}


def fixed(data: Path, **changes: Any) -> Any:
    """Scores of an untrained detector, whose every detection counts."""
    config = DetectConfig(
        data=str(data), model="retinanet", score=0.0, detections=40, **(TINY | COMMON | changes)
    )
    bench = open_bench(config, CPU, 0, BOXES)
    with seeded(0):
        body = Body(bench.backbone, norm="eval", trainable=5)
        net = build_detector(config, body, 2, bench.facts.mean, bench.facts.std)
    return score(config, bench, net, BoxReader(bench.test, masks=False), 0)


def test_neither_batch_nor_workers_enter_the_score_of_a_detector(sets: Path) -> None:
    whole = fixed(sets / "boxes", batch=8)
    assert whole.scores["ar_100_percent"] > 0
    for changes in ({"batch": 1}, {"batch": 5, "workers": 2}):
        other = fixed(sets / "boxes", **changes)
        assert other.scores == pytest.approx(whole.scores, abs=1e-6)
        assert other.intervals["ap50_percent"] == pytest.approx(whole.intervals["ap50_percent"], abs=1e-6)


_RANK = """
import sys, json
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from rstrain import distributed
from rstrain.evals.bench import open_bench
from shards.targets import MASK
from test_dense_evals import fixed, trained

with distributed.session("cpu") as world:
    outcome = fixed(Path(sys.argv[1]) / "boxes")
    weights, counts = trained(Path(sys.argv[1]) / "masks")
    torch.save({"weights": weights, "counts": counts}, f"{sys.argv[2]}/{world.rank}.pt")
    Path(f"{sys.argv[2]}/{world.rank}.json").write_text(outcome.model_dump_json())
distributed.leave()
"""


def trained(data: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A U-Net after two steps, and the counts of an untrained one."""
    config = SegmentConfig(data=str(data), train_batch=4, epochs=1 / 3, lr=0.003, **COMMON)
    bench = open_bench(config, CPU, 0, MASK)
    reader = MaskReader(bench.test, dates=1, classes=3)
    with seeded(0):
        net = build_segmenter(config, bench.backbone, 3, norm="eval", side=64).eval()
    predict = segmentation.predictor(config, net, 64)
    counts = confusions(bench, reader, predict, batch=3, workers=0, amp=False)
    bench = open_bench(config, CPU, 0, MASK)
    weights = segmentation.train(config, bench, 0).state_dict()
    return {name: value.clone() for name, value in weights.items()}, torch.from_numpy(counts)


@pytest.mark.slow
def test_two_ranks_score_and_train_as_one(sets: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here.parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [*command, str(script), str(sets), str(tmp_path), str(here)],
        check=True,
        capture_output=True,
        timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    one = fixed(sets / "boxes")
    weights, counts = trained(sets / "masks")
    for rank in (0, 1):
        outcome = json.loads((tmp_path / f"{rank}.json").read_text())
        assert outcome["scores"] == pytest.approx(one.scores, abs=1e-6)
        got = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(got["counts"], counts)
        for name, value in weights.items():
            torch.testing.assert_close(
                got["weights"][name], value, atol=2e-4, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}"
            )


@pytest.mark.parametrize(
    ("kind", "name", "member", "body_after"),
    [
        (SegmentConfig, "masks", MASK, lambda *given: segmentation.train(*given).body),
        (ChangeConfig, "pairs", MASK, lambda *given: train_change(*given).body),
        (DetectConfig, "boxes", BOXES, lambda config, bench, seed: body_of(config, bench)),
    ],
)
def test_every_task_tells_a_gsd_model_the_resolution(
    sets: Path, kind: Any, name: str, member: str, body_after: Any
) -> None:
    told = []
    for resolution in (1.0, 0.25):
        options = COMMON | {"arch": "gsd:vit_tiny_patch16_224", "train_batch": 2, "epochs": 1 / 12}
        config = kind(data=str(sets / name), base_resolution=resolution, **options)
        with seeded(0):
            body = body_after(config, open_bench(config, CPU, 0, member), 0)
        told.append(body.eval()(torch.ones(1, 3, 64, 64))[0])
    assert not torch.allclose(*told)


def test_faults_are_one_plain_message(sets: Path, tmp_path: Path) -> None:
    def fails(error: type[Exception], match: str, config: Any) -> None:
        with pytest.raises(error, match=match):
            run_dense(config)

    masks, boxes = str(sets / "masks"), str(sets / "boxes")
    fails(
        ShardError, r"has no target mask\.png.*its targets: boxes\.json", SegmentConfig(data=boxes, **COMMON)
    )
    fails(ShardError, "has 1 views; this evaluation needs two dates", _two(sets, tmp_path))
    fails(ShardError, "have 3 classes .*; change needs two", ChangeConfig(data=masks, **COMMON))
    fails(
        ConfigError,
        "train_batch=100 is larger than the 24",
        SegmentConfig(data=masks, train_batch=100, **COMMON),
    )
    fails(
        ConfigError,
        "--base-resolution 0.3: resnet18 is told no resolution",
        SegmentConfig(data=masks, base_resolution=0.3, **COMMON),
    )
    fails(ConfigError, "is a folder; give a file name", SegmentConfig(data=masks, out=tmp_path, **COMMON))
    wild = DetectConfig(
        data=boxes, **(TINY | COMMON | {"lr": 1e20, "epochs": 1, "train_batch": 2, "clip": 0.0})
    )
    fails(ConfigError, r"the loss of step \d+ is not finite .*: give a smaller --lr", wild)
    with pytest.raises(ConfigError, match="min_lr=1 is above lr"):
        SegmentConfig.build(data=masks, min_lr=1.0)
    place = Place([pattern(0)], members={MASK: encode_mask(np.full((48, 48), 7))})
    wrong = [place, Place([pattern(1)], split="test", members=place.members)]
    build_set(tmp_path / "wrong", wrong, targets=[Target(member=MASK, classes=["a", "b"])])
    fails(
        ShardError,
        "sample place-00000: its mask holds 7, and there are 2 classes",
        SegmentConfig(data=str(tmp_path / "wrong"), train_batch=1, **COMMON),
    )


def _two(sets: Path, tmp_path: Path) -> ChangeConfig:
    members = {MASK: encode_mask(np.zeros((48, 48), np.uint8))}
    places = [Place([pattern(i)], split=s, members=members) for i, s in enumerate(("train", "test"))]
    build_set(tmp_path / "one-date", places, targets=[Target(member=MASK, classes=["a", "b"])])
    return ChangeConfig(data=str(tmp_path / "one-date"), **COMMON)
