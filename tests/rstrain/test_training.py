"""The training loop as its users meet it: real processes, killed for real, and refusals in one sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from builders import Place, build_set, pattern
from rstrain import distributed
from rstrain.config import TrainConfig, config_for, load_config
from rstrain.engine import checkpoint
from rstrain.engine.folder import locked
from rstrain.engine.probe import Probe
from rstrain.engine.stop import StopSignals
from rstrain.engine.train import TrainingError, pretrain
from runs import kill_at, same_end, start
from shards.errors import UserError

torch.set_num_threads(1)
ARCH = "timm:test_resnet"  # half a million weights: a checkpoint costs nothing


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training")
    places = [
        Place(
            [pattern(10 * i + v, 40, 40) for v in range(1 + i % 4)],
            label=i % 3,
            split="train" if i % 4 else "val",
            lon=i * 7 % 360 - 180.0,
            lat=i * 3 % 160 - 80.0,
        )
        for i in range(60)
    ]
    build_set(folder / "set", places, ending="jpg", samples_per_shard=20)
    centroids = [[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0], [0, -1.0, 0]]
    (folder / "clusters.json").write_text(
        json.dumps({"space": "sphere", "clusters": [{"vector": v} for v in centroids]})
    )
    return folder


def config(data: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "data": str(data / "set"),
        "clusters": data / "clusters.json",
        "arch": ARCH,
        "batch": 16,
        "epochs": 2.5,
        "log_every": 3,
        "knn_every": 1,
        "device": "cpu",
        "threads": 1,
        "method": {"queue": 64, "bn_splits": 2},
        "augment": {"size": 32},
    }
    return config_for("moco-geo-tp").build(**(values | changes))


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(data: Path, tmp_path: Path) -> None:
    """kill -9 and SIGTERM, over epoch borders, another worker count each time."""
    calm, out = tmp_path / "calm", tmp_path / "killed"
    assert pretrain(config(data, workers=0), calm).finished
    often = config(data, workers=1, save_minutes=0.0001, keep=2)
    assert kill_at(start(often, out), out, 4, signal.SIGKILL) == -signal.SIGKILL
    assert kill_at(start(config(data, workers=2), out), out, 0, signal.SIGTERM) in (130, -signal.SIGTERM)
    assert len(list((out / "checkpoints").glob("*.pt"))) <= 3
    assert pretrain(config(data, workers=0), out).finished
    same_end(out, calm)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    assert pretrain(small(data), out).finished
    return out


def small(data: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "data": str(data / "set"),
        "arch": ARCH,
        "batch": 16,
        "epochs": 0.5,
        "device": "cpu",
        "workers": 0,
        "method": {"queue": 64},
        "augment": {"size": 32},
    }
    return config_for("moco").build(**(values | changes))


def test_a_run_folder_is_complete(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert {
        "config.toml",
        "metrics.jsonl",
        "environment.json",
        "backbone.safetensors",
        "tensorboard",
        "checkpoints",
    } <= names
    record = json.loads((finished / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"step", "epoch", "loss", "lr", "samples_per_s", "data_wait", "embedding_std"} <= record.keys()
    assert load_config(finished / "config.toml").method.kind == "moco"


def test_other_options_other_data_damage_and_foreign_folders_are_refused(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"optim\.lr: the run has 0\.03, now 0\.1"):
        pretrain(small(data, optim={"lr": 0.1}), finished)

    build_set(tmp_path / "set", [pattern(i, 40, 40) for i in range(150)], ending="jpg")
    before = (finished / "config.toml").read_text()
    with pytest.raises(UserError, match="is not the data that"):
        pretrain(small(tmp_path), finished)
    assert (finished / "config.toml").read_text() == before, "a refusal changes nothing"
    with pytest.raises(UserError, match=r"kind = 'moco', but this is a run of moco-tp"):
        config_for("moco-tp").build(data="x", method={"kind": "moco"})

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (newest,) = (copy / "checkpoints").glob("*.pt")
    content = bytearray(newest.read_bytes())
    newest.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="half written or damaged"):
        pretrain(small(data), copy)

    with pytest.raises(UserError, match="no run folder"):
        pretrain(small(data), tmp_path / "set")
    with pytest.raises(UserError, match="batch=512 is larger than"):
        pretrain(small(data, batch=512), tmp_path / "large")
    with pytest.raises(UserError, match="accumulate=3 does not divide"):
        pretrain(small(data, accumulate=3), tmp_path / "odd")
    with pytest.raises(UserError, match="needs --clusters"):
        config_for("moco-geo").build(data=str(data / "set"))


def test_a_loss_that_is_not_finite_stops_before_the_update(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    hot = small(data, optim={"lr": 1e30, "schedule": "constant"}, epochs=4, save_minutes=1e-4)
    with pytest.raises(TrainingError, match=r"the loss is not finite.*\n.*place-"):
        pretrain(hot, out)
    with pytest.raises(TrainingError, match="a gradient is not finite"):
        pretrain(small(data, method={"queue": 64, "temperature": 1e-36}), tmp_path / "steep")
    (keys,) = out.glob("non-finite-step-*.txt")
    assert len(keys.read_text().split()) == 16
    state = checkpoint.load_last(out / "checkpoints")
    assert state is None or all(
        v.isfinite().all() for v in state["optimizer"]["state"][0].values() if v is not None
    )


RANK = """
import os, signal, sys
from pathlib import Path
from torch.optim.optimizer import register_optimizer_step_post_hook
from rstrain import distributed
from rstrain.config import load_config
from rstrain.engine.train import pretrain

config, folder = load_config(Path(sys.argv[1])), Path(sys.argv[2])
steps = 0

def one_rank_is_told_to_leave(*_):
    global steps
    steps += 1
    if steps == 4 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)

with distributed.session("cpu"):
    assert pretrain(config, folder / "calm").finished
    hook = register_optimizer_step_post_hook(one_rank_is_told_to_leave)
    stopped = pretrain(config, folder / "stopped")
    assert not stopped.finished and stopped.steps == 5, stopped
    hook.remove()
    assert pretrain(config, folder / "stopped").finished
distributed.leave()
"""


@pytest.mark.slow
def test_two_ranks_stop_together_and_resume_exactly(data: Path, tmp_path: Path) -> None:
    """A signal to one rank in the middle of a log window: both save after the same step, and end as undisturbed ones."""
    (tmp_path / "config.toml").write_text(config(data, workers=0, epochs=1.2, log_every=4).to_toml())
    (tmp_path / "rank.py").write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, *(str(tmp_path / name) for name in ("rank.py", "config.toml")), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "going on from step 5 of" in done.stderr
    same_end(tmp_path / "stopped", tmp_path / "calm")


def test_a_signal_during_the_update_is_not_lost(data: Path, tmp_path: Path) -> None:
    def told(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    hook = register_optimizer_step_post_hook(told)
    try:
        report = pretrain(small(data, epochs=2), tmp_path / "run")
    finally:
        hook.remove()
    assert (report.finished, report.steps) == (False, 2), "the step after the one that was under way"
    assert pretrain(small(data, epochs=2), tmp_path / "run").finished


def test_ctrl_c_echoed_by_a_launcher_does_not_abort() -> None:
    with StopSignals() as signals:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert signals.number == signal.SIGINT


def test_clusters_may_move_but_not_change(data: Path, tmp_path: Path) -> None:
    geo = {"epochs": 0.5, "workers": 0, "knn_every": 0}
    pretrain(config(data, **geo), tmp_path / "run")
    moved = tmp_path / "moved.json"
    moved.write_text((data / "clusters.json").read_text())
    assert pretrain(config(data, **geo, clusters=moved), tmp_path / "run").finished
    moved.write_text(moved.read_text().replace("-1.0", "-0.9"))
    with pytest.raises(UserError, match="holds other centroids than"):
        pretrain(config(data, **geo, clusters=moved), tmp_path / "run")
    for text in ("[]", '{"space": "sphere", "clusters": [{"vector": [1.0, 0.0]}]}'):
        moved.write_text(text)
        with pytest.raises(UserError, match=r"moved\.json: holds no centroids"):
            pretrain(config(data, **geo, clusters=moved), tmp_path / "new")


def test_a_fault_before_the_first_checkpoint_and_a_second_process_are_refused(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError, match="does not divide by bn_splits=3"):
        pretrain(small(data, method={"queue": 64, "bn_splits": 3}), out)
    world = distributed.World(0, 1, 0, torch.device("cpu"))
    with (
        locked(out, world),
        pytest.raises(UserError, match=r"another training is at work here \(process \d+ on"),
    ):
        pretrain(small(data), out)
    assert pretrain(small(data), out).finished, "other options are fine while nothing was learnt"


def test_online_knn_asks_the_training_split_about_val(tmp_path: Path) -> None:
    places = [
        Place([pattern(i, 40, 40)] * 2, label=i % 2, split=("train", "val", "test")[i % 3]) for i in range(12)
    ]
    index = build_set(tmp_path / "set", places)
    splits = index.column("split")

    def rows(split: str | None) -> tuple[set[str], set[str]]:
        probe = Probe(small(tmp_path, knn_every=1, split=split), index, split, (0.0,) * 3, (1.0,) * 3)
        assert not set(probe.gallery) & set(probe.queries)
        return set(splits[probe.gallery]), set(splits[probe.queries])

    assert rows("train") == ({"train"}, {"val"})
    assert rows("val") == ({"val"}, {"test"})
    assert rows(None) == ({"train", "test"}, {"val"})
    places = [Place([pattern(i, 40, 40)] * 2, label=i % 2, split="train") for i in range(12)]
    index = build_set(tmp_path / "one", places)
    probe = Probe(small(tmp_path, knn_every=1), index, "train", (0.0,) * 3, (1.0,) * 3)
    assert not set(index.keys(probe.gallery)) & set(index.keys(probe.queries)), "halved by places"
