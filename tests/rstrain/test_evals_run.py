"""Evaluations from a config to a scores file, on real shards; and the backbone file they start from."""

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
from rstrain.evals.base import run_eval, run_evals
from rstrain.evals.config import KnnConfig, LinearConfig
from rstrain.evals.features import extract
from rstrain.evals.online import online_knn
from rstrain.interop.backbone import (
    BackboneFacts,
    CheckpointError,
    load_backbone,
    read_facts,
    save_backbone,
    weights_digest,
)
from rstrain.models.backbone import build_backbone
from shards.errors import ConfigError, ShardError
from shards.index import Index

torch.set_num_threads(1)
SMALL = {"arch": "resnet18", "size": 32, "device": "cpu", "workers": 0}


def places(count: int = 45, classes: int = 3, **changes: Any) -> list[Place]:
    """Three kinds of ground that even a random network tells apart; one or two views a place."""
    out = []
    for i in range(count):
        label = i % classes
        views = [
            (0.6 * pattern(label) + 0.4 * pattern(100 + 2 * i + v)).astype(np.uint8) for v in range(1 + i % 2)
        ]
        place = {"label": label, "split": "test" if i >= 2 * count // 3 else "train", **changes}
        out.append(Place(views, **place))
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evals") / "set"
    build_set(folder, places(), classes=["field", "forest", "town"])
    return folder


def test_knn_writes_scores_that_name_what_they_were_made_from(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores" / "knn.json"
    scores = run_eval(KnnConfig.build(data=str(data), k=5, out=out, **SMALL))
    again = run_eval(KnnConfig.build(data=str(data), k=5, batch=7, **SMALL))
    assert scores.outcome == again.outcome, "the batch size changes no score"
    assert scores.scores["top1_percent"] > 60, "chance is 33 %"
    low, high = scores.outcome.intervals["top1_percent"]
    assert low <= scores.scores["top1_percent"] <= high
    written = json.loads(out.read_text())
    index = Index.open(data)
    assert written["task"] == "knn" and written["protocol"]["k"] == 5
    assert written["data"]["fingerprint"] == index.info.fingerprint
    assert written["checkpoint"]["source"] == "random" and len(written["checkpoint"]["sha256"]) == 64
    assert (written["n_train"], written["n_test"], written["n_test_places"]) == (45, 22, 15)
    assert np.sum(written["outcome"]["confusion"]) == 22
    assert [row["name"] for row in written["outcome"]["per_class"]] == ["field", "forest", "town"]


def test_linear_scores_views_and_places_and_spreads_over_seeds(data: Path) -> None:
    config = LinearConfig.build(data=str(data), epochs=20, seeds=2, **SMALL)
    scores = run_eval(config)
    assert run_eval(config).outcome == scores.outcome, "the same seed gives the same scores"
    assert scores.scores["top1_percent"] > 60
    assert "temporal_top1_percent" in scores.scores and "temporal_f1_macro_percent" in scores.scores
    assert scores.outcome.details["lr"] in config.lrs
    values = scores.spread["top1_percent"].values
    assert len(values) == 2 and values[0] == scores.scores["top1_percent"]
    off = run_eval(LinearConfig.build(data=str(data), epochs=2, temporal=False, **SMALL))
    assert not any(name.startswith("temporal_") for name in off.scores)


def test_evaluations_of_one_checkpoint_share_its_features(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_backbone(
        tmp_path / "a.safetensors", build_backbone("resnet18"), BackboneFacts(arch="resnet18", size=32)
    )
    common: dict[str, Any] = {"data": str(data), "device": "cpu", "workers": 0}
    common["checkpoint"] = str(tmp_path / "a.safetensors")
    configs = [
        KnnConfig(**common, k=5, out=tmp_path / "knn.json"),
        LinearConfig(**common, epochs=3, seed=4, out=tmp_path / "linear.json"),
        KnnConfig(**common, k=5, size=24),
    ]
    together = run_evals(configs)
    assert capsys.readouterr().err.count("features of train") == 2, "one for each input size"
    assert [s.outcome for s in together] == [run_eval(c).outcome for c in configs]
    assert (tmp_path / "knn.json").exists() and (tmp_path / "linear.json").exists()
    with pytest.raises(ConfigError, match="is a folder; give a file name"):
        run_eval(KnnConfig(**common, out=tmp_path))
    random = [KnnConfig(**common | SMALL | {"checkpoint": "random"}, k=5, seed=s, seeds=2) for s in (0, 1)]
    first, second = run_evals(random)
    assert capsys.readouterr().err.count("features of train") == 3 + 3, "seeds 0, 1 and 2 once each"
    assert first.spread["top1_percent"].values[1] == second.spread["top1_percent"].values[0]


def test_features_are_those_of_each_image_alone_and_leave_the_network_as_it_was(data: Path) -> None:
    index = Index.open(data)
    rows = np.array([5, 0, 17, 3, 4, 60, 2], np.int64)
    backbone = build_backbone("resnet18", seed=1).train()
    backbone.net.layer1.eval()  # a mixture of modes must come back as it was
    modes = [m.training for m in backbone.modules()]
    before, torch_state = weights_digest(backbone), torch.get_rng_state()
    fact = BackboneFacts(arch="resnet18")
    options: dict[str, Any] = {"mean": fact.mean, "std": fact.std, "size": 32}
    whole = extract(backbone, index, rows, batch=7, **options)
    assert whole.dtype == torch.float32 and whole.shape == (7, 512)
    for batch, workers in ((1, 0), (3, 1)):
        torch.testing.assert_close(
            extract(backbone, index, rows, batch=batch, workers=workers, **options),
            whole,
            rtol=1e-4,
            atol=1e-5,
        )
    torch.testing.assert_close(
        extract(backbone, index, rows[2:3], **options), whole[2:3], rtol=1e-4, atol=1e-5
    )
    assert [m.training for m in backbone.modules()] == modes
    assert weights_digest(backbone) == before, "batch norms must not move"
    assert torch.equal(torch.get_rng_state(), torch_state)
    split = index.column("split")
    score = online_knn(
        backbone,
        index,
        train_rows=np.flatnonzero(split == "train"),
        test_rows=np.flatnonzero(split == "test"),
        gallery=30,
        queries=10,
        k=50,
        **options,
    )
    assert 0 <= score <= 100


_RANK = """
import sys
import numpy as np, torch
from rstrain import distributed
from rstrain.evals.features import extract
from rstrain.models.backbone import build_backbone
from shards.index import Index

torch.set_num_threads(1)
with distributed.session("cpu") as world:
    index, net = Index.open(sys.argv[1]), build_backbone("resnet18", seed=1)
    for count in (7, 1):
        out = extract(net, index, np.arange(count), mean=[120.0] * 3, std=[60.0] * 3, size=32, batch=4)
        np.save(f"{sys.argv[2]}/rank{world.rank}-{count}.npy", out.numpy())
distributed.leave()
"""


@pytest.mark.slow
def test_two_ranks_see_the_same_features_as_one(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [*command, str(script), str(data), str(tmp_path)],
        check=True,
        capture_output=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    scale: dict[str, Any] = {"mean": [120.0] * 3, "std": [60.0] * 3, "size": 32}
    for count in (7, 1):  # an uneven division, and a rank with nothing to read
        one = extract(build_backbone("resnet18", seed=1), Index.open(data), np.arange(count), **scale)
        for rank in (0, 1):
            got = np.load(tmp_path / f"rank{rank}-{count}.npy")
            np.testing.assert_allclose(got, one.numpy(), rtol=1e-4, atol=1e-5)


def test_random_crops_of_wide_images_change_by_epoch_and_square_ones_are_cached(tmp_path: Path) -> None:
    wide = [Place([pattern(i, 40, 90)], label=i % 2, split="train" if i < 16 else "val") for i in range(24)]
    build_set(tmp_path / "wide", wide)
    scores = run_eval(
        LinearConfig.build(data=str(tmp_path / "wide"), preset="repo", epochs=2, lrs=(0.1,), **SMALL)
    )
    assert scores.data["test_split"] == "val", "val is the test where there is no test"
    assert scores.protocol["random_crop"] is True
    index = Index.open(tmp_path / "wide")
    net = build_backbone("resnet18", seed=0)
    options: dict[str, Any] = {"mean": [120.0] * 3, "std": [60.0] * 3, "size": 32}
    crops = [extract(net, index, np.arange(4), crop_epoch=e, **options) for e in (0, 1, 0)]
    assert not torch.allclose(crops[0], crops[1]) and torch.equal(crops[0], crops[2])


def test_faults_are_one_plain_message(data: Path, tmp_path: Path) -> None:
    def fails(error: type[Exception], match: str, **changes: Any) -> None:
        with pytest.raises(error, match=match):
            run_eval(KnnConfig.build(**({"data": str(data), **SMALL} | changes)))

    fails(ConfigError, "k=46 is more than the 45 samples", k=46)
    fails(ShardError, "has no split 'valid'; it has test, train", test_split="valid")
    fails(ConfigError, "both 'test'", train_split="test")
    fails(ConfigError, "needs an architecture", arch=None)
    fails(CheckpointError, "no such file or run folder", checkpoint=str(tmp_path / "gone.safetensors"))
    build_set(tmp_path / "unlabelled", places(6, label=None))
    fails(ShardError, "6 of 6 views of split 'train' have no label", data=str(tmp_path / "unlabelled"))
    info = build_set(tmp_path / "outside", places(9)).info
    fewer = info.model_copy(update={"classes": ["field", "forest"]}).sealed()
    (tmp_path / "outside" / "dataset.json").write_text(fewer.model_dump_json())
    fails(
        ShardError, "label 2 of sample place-00002 is outside the 2 classes", data=str(tmp_path / "outside")
    )
    build_set(tmp_path / "one", [Place([pattern(i)], label=0) for i in range(3)])
    fails(ShardError, "neither a split 'test' nor 'val'; it has train", data=str(tmp_path / "one"))
    single = [Place([pattern(i)], label=0, split="train" if i else "test") for i in range(3)]
    build_set(tmp_path / "single", single)
    fails(ShardError, "all 2 views of 'train' are of one class", data=str(tmp_path / "single"))


def test_only_a_table_of_positions_ties_a_model_of_timm_to_one_size(tmp_path: Path) -> None:
    for arch, tied in (("timm:mobilenetv3_small_050", False), ("timm:vit_tiny_patch16_224", True)):
        path = tmp_path / f"{tied}.safetensors"
        save_backbone(path, build_backbone(arch, size_px=64), BackboneFacts(arch=arch, size=64))
        assert load_backbone(path, size=64)[1].size == 64
        if tied:
            with pytest.raises(ConfigError, match="would need its positions interpolated"):
                load_backbone(path, size=96)
        else:
            load_backbone(path, size=96)


def test_a_backbone_file_comes_back_as_it_was_or_says_why_not(tmp_path: Path) -> None:
    path = tmp_path / "run" / "backbone.safetensors"
    backbone = build_backbone("resnet18", 4, stem="small", seed=5).to(memory_format=torch.channels_last)
    facts = BackboneFacts(
        arch="resnet18", bands=4, mean=(1.0,) * 4, std=(2.0,) * 4, size=64, stem="small", method="moco"
    )
    path.parent.mkdir()
    save_backbone(path, backbone, facts)
    for source in (path, path.parent):
        loaded, read = load_backbone(source)
        assert weights_digest(loaded) == weights_digest(backbone)
        assert read == facts.model_copy(update={"features": 512}) and not loaded.training
    with pytest.raises(ConfigError, match="holds resnet18, not resnet50"):
        load_backbone(path, arch="resnet50")
    whole = path.read_bytes()
    for size in (0, 5, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="is not a whole safetensors file"):
            load_backbone(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="does not say which model it is"):
        read_facts(path)
    save_file({"conv1.weight": torch.zeros(1)}, path, metadata={"rstrain": json.dumps(facts.to_dict())})
    with pytest.raises(ConfigError, match="tensors are missing"):
        load_backbone(path)
    torch.save({"state_dict": {}}, tmp_path / "old.pth.tar")
    with pytest.raises(CheckpointError, match="rstrain convert"):
        load_backbone(tmp_path / "old.pth.tar")
    with pytest.raises(CheckpointError, match=r"has no backbone\.safetensors"):
        load_backbone(tmp_path)
    assert weights_digest(load_backbone("random", arch="resnet18", seed=1)[0]) != weights_digest(
        load_backbone("random", arch="resnet18", seed=2)[0]
    )


def test_configs_load_no_torch() -> None:
    only = "import sys, rstrain.evals.config; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", only], check=True)
