"""Fine-tuning, the resolution sweep and what is written beside the scores; scores do not know ranks, batches or workers."""

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
from rstrain.evals.config import ClusterConfig, EvalConfig, KnnConfig, LinearConfig
from rstrain.evals.tuning_config import FinetuneConfig
from rstrain.interop.backbone import BackboneFacts, save_backbone
from rstrain.interop.export import export
from rstrain.models.backbone import build_backbone
from rstrain.report import build_report
from shards.codec import decode
from shards.errors import ConfigError

torch.set_num_threads(1)
SMALL: dict[str, Any] = {"arch": "resnet18", "size": 32, "device": "cpu", "workers": 0}
CLASSES = ["field", "forest", "town"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning") / "set"
    places = []
    for i in range(63):
        kind = 0.5 * pattern(i % 3, 40, 52) + 0.5 * pattern(100 + i, 40, 52)
        place = Place([kind.astype(np.uint8)], label=i % 3, split="test" if i >= 42 else "train")
        places.append(place)
    build_set(folder, places, classes=CLASSES)
    return folder


def tuning(data: Path, **changes: Any) -> FinetuneConfig:
    given = {"data": str(data), "epochs": 4, "train_batch": 14, "optim": {"lr": 1e-3}, **SMALL} | changes
    return FinetuneConfig.build(**given)


def test_a_share_of_the_labels_is_learnt_and_kept_as_a_list(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run" / "evals" / "finetune.json"
    scores = run_eval(tuning(data, fraction=0.5, out=out, seed=1))
    assert scores.scores["top1_percent"] > 60, "chance is 33 %"
    details = scores.outcome.details
    assert details["labelled_places"] == 21
    assert details["loss"]["last_epoch"] < details["loss"]["first_epoch"]
    names = out.with_name("finetune.train-list.txt")
    assert len(names.read_text().split()) == 21
    again = run_eval(tuning(data, train_list=names, seed=1))
    assert again.n_train == 21 and again.scores == scores.scores
    picture = out.with_name("finetune.mistakes.png")
    if scores.outcome.mistakes:
        sheet = decode("mistakes.png", picture.read_bytes())
        assert sheet.shape[1] == min(6, len(scores.outcome.mistakes)) * 150 + 6
        assert all(m.truth != m.found for m in scores.outcome.mistakes)
    build_report([tmp_path / "run"], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert ("data:image/png;base64," in page) == bool(scores.outcome.mistakes)


def test_statistics_are_frozen_where_the_protocol_says_so(data: Path, tmp_path: Path) -> None:
    from rstrain.evals.subject import open_subject
    from rstrain.evals.tuning import tuned

    path = tmp_path / "a.safetensors"
    save_backbone(path, build_backbone("resnet18"), BackboneFacts(arch="resnet18", size=32))
    common: dict[str, Any] = {"checkpoint": str(path), "epochs": 1, "arch": None, "size": None}
    for norm, preset in (("auto", "own"), ("train", "own"), ("auto", "geoaware")):
        config = tuning(data, norm=norm, preset=preset, **common)
        if preset == "geoaware":
            config = tuning(data, preset=preset, **common)
            assert (config.norm, config.crop, config.optim.lr, config.optim.schedule) == (
                "eval",
                "random",
                1e-3,
                "step",
            )
        subject = open_subject(config, torch.device("cpu"), 0)
        before = {name: t.clone() for name, t in subject.backbone.state_dict().items()}
        model, _ = tuned(config, subject, subject.train, 0)
        after = model.backbone.state_dict()
        moved = {name for name, t in before.items() if not torch.equal(t, after[name])}
        assert "net.bn1.weight" in moved and "net.conv1.weight" in moved
        assert any(name.endswith(("running_mean", "running_var")) for name in moved) == (norm == "train")
        now = subject.backbone.state_dict()
        assert all(torch.equal(t, now[name]) for name, t in before.items()), "the subject stays as it is"


def test_a_step_of_one_sample_is_refused_where_batch_norms_learn(data: Path) -> None:
    from rstrain.evals.subject import open_subject
    from rstrain.evals.tuning import tuned

    config = tuning(data, norm="train", train_batch=1)
    subject = open_subject(config, torch.device("cpu"), 0)
    with pytest.raises(ConfigError, match=r"a step of one sample .* use more, or --norm eval"):
        tuned(config, subject, subject.train, 0)


def test_presets_are_written_out_and_options_override_them() -> None:
    one = FinetuneConfig.build(data="x", preset="vicreg-1", optim={"lr": 0.5})
    assert (one.fraction, one.head_lr, one.optim.lr, one.optim.schedule) == (0.01, 0.08, 0.5, "cosine_epoch")
    mae = FinetuneConfig.build(data="x", preset="scalemae")
    assert mae.optim.layer_decay == 0.75 and mae.optim.peak(64) == pytest.approx(2.5e-4) and mae.head_norm
    with pytest.raises(ConfigError, match="both set the rate of the head"):
        FinetuneConfig.build(data="x", preset="scalemae", head_lr=0.1)


def test_the_sweep_tells_a_gsd_model_the_coarser_resolution(data: Path) -> None:
    common = SMALL | {"arch": "gsd:vit_tiny_patch16_224"}
    config = KnnConfig.build(data=str(data), k=5, scales=(1.0, 0.5), **common)
    assert config.gsd == "relative"
    scores = run_eval(config)
    rows = scores.outcome.details["scales"]
    assert [(row["scale"], row["side"], row["resolution"]) for row in rows] == [(1, 32, 7), (0.5, 16, 14)]
    assert scores.scores["scale_1_top1_percent"] == scores.scores["top1_percent"]
    deaf = run_eval(KnnConfig.build(data=str(data), k=5, scales=(0.5,), gsd="fixed", **common))
    assert deaf.outcome.details["scales"][0]["resolution"] == 1
    with pytest.raises(ConfigError, match=r"does not take an input of 8 px .* whole patches of 16 px"):
        run_eval(KnnConfig.build(data=str(data), scales=(0.25,), **common))
    with pytest.raises(ConfigError, match="is told no resolution"):
        run_eval(KnnConfig.build(data=str(data), gsd="relative", **SMALL))


def test_an_exported_copy_scores_as_the_original(data: Path, tmp_path: Path) -> None:
    facts = BackboneFacts(arch="resnet18", size=32, gsd_m=0.5, licence="CC-BY-4.0", attribution="A. Author")
    save_backbone(tmp_path / "a.safetensors", build_backbone("resnet18", seed=3), facts)
    card = export(tmp_path / "a.safetensors", tmp_path / "plain.safetensors").card.read_text()
    assert "| licence of the data | CC-BY-4.0 |" in card and "A. Author" in card
    assert "| metres a pixel in training | 0.5 |" in card
    configs: list[EvalConfig] = []
    for name in ("a", "plain"):
        common = SMALL | {"checkpoint": str(tmp_path / f"{name}.safetensors"), "arch": None, "size": None}
        configs += [
            KnnConfig.build(data=str(data), k=5, **common),
            LinearConfig.build(data=str(data), epochs=5, **common),
        ]
    scores = run_evals(configs)
    assert scores[0].outcome == scores[2].outcome and scores[1].outcome == scores[3].outcome
    assert scores[0].checkpoint["sha256"] == scores[2].checkpoint["sha256"]


@pytest.mark.slow
def test_a_graph_computes_what_the_backbone_does(tmp_path: Path) -> None:
    backbone = build_backbone("resnet18", 4, seed=3)
    names = ("red", "green", "blue", "nir")
    facts = BackboneFacts(
        arch="resnet18", bands=4, band_names=names, mean=(1.0,) * 4, std=(2.0,) * 4, size=32, gsd_m=10.0
    )
    save_backbone(tmp_path / "a.safetensors", backbone, facts)
    done = export(tmp_path / "a.safetensors", tmp_path / "a.onnx", to="onnx")
    import onnx
    import onnxruntime  # after the export, which keeps it from calling home

    session = onnxruntime.InferenceSession(str(done.out))
    images = torch.randn(5, 4, 32, 32)
    (got,) = session.run(["features"], {"images": images.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(got, backbone.eval()(images).numpy(), rtol=1e-4, atol=1e-4)
    header = {prop.key: prop.value for prop in onnx.load(done.out).metadata_props}
    written = json.loads(header["rstrain"])
    assert written["band_names"] == list(names) and written["gsd_m"] == 10 and written["mean"] == [1.0] * 4
    assert "onnxruntime" in done.card.read_text()
    with pytest.raises(ConfigError, match=r"end the name in \.onnx"):
        export(tmp_path / "a.safetensors", tmp_path / "a.pth", to="onnx")


def _everything(data: str, out: Path, batch: int, workers: int) -> None:
    small = SMALL | {"workers": workers, "batch": batch, "data": data}
    tune = {"epochs": 1, "train_batch": 14, "dropout": 0.2, "head_norm": True, "norm": "train"}
    run_evals(
        [
            KnnConfig.build(k=5, out=out / "knn.json", **small),
            LinearConfig.build(epochs=5, out=out / "linear.json", **small),
            ClusterConfig.build(out=out / "cluster.json", **small),
            FinetuneConfig.build(out=out / "finetune.json", optim={"lr": 1e-4}, **tune, **small),
        ]
    )


@pytest.mark.slow
def test_scores_know_nothing_of_ranks_batches_and_workers(data: Path, tmp_path: Path) -> None:
    _everything(str(data), tmp_path / "one", 64, 0)
    script = tmp_path / "rank.py"
    script.write_text(
        f"import sys\nfrom pathlib import Path\nsys.path[:0] = {sys.path!r}\nfrom test_eval_tuning import _everything\n"
        f"_everything({str(data)!r}, Path({str(tmp_path / 'two')!r}), 7, 2)\n"
        "from rstrain.distributed import leave\nleave()\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for task in ("knn", "linear", "cluster", "finetune"):
        one, two = (json.loads((tmp_path / name / f"{task}.json").read_text()) for name in ("one", "two"))
        assert one["n_test"] == two["n_test"] == 21, "no short batch and no share is left out"
        assert one["outcome"]["scores"] == two["outcome"]["scores"], task
    losses = [found["outcome"]["details"]["loss"]["last_epoch"] for found in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=0, abs=1e-5)
