"""The training loop as its users meet it: real processes, killed for real, and refusals in one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from builders import Place, build_set, pattern

STEPS = 28


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


def command(data: Path, out: Path, *more: str, method: str = "moco-geo-tp") -> list[str]:
    geo = ["--clusters", str(data / "clusters.json")] if "geo" in method else []
    fixed = "--arch resnet18 --size 32 --batch 16 --queue 64 --epochs 3.4 --log-every 3 --bn-splits 2 --device cpu"
    return [
        *(
            sys.executable,
            "-m",
            "rstrain",
            "pretrain",
            method,
            "--data",
            str(data / "set"),
            "--out",
            str(out),
        ),
        *(*geo, *fixed.split(), "--threads", "1", *more),
    ]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, env=environment(), timeout=240)


def losses(out: Path) -> list[tuple[Any, ...]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        (r["step"], r["epoch"], r["loss"], r["loss_geo"], r["embedding_std"], r["lr"], r.get("knn"))
        for r in rows
    ]


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(data: Path, tmp_path: Path) -> None:
    """kill -9 and SIGTERM, over epoch borders, another worker count each time: every number and every weight agrees."""
    calm = run(command(data, tmp_path / "calm", "--workers", "0", "--knn-every", "1"))
    assert calm.returncode == 0, calm.stderr
    out = tmp_path / "killed"
    for workers, at, number in (
        ("1", 5, signal.SIGKILL),
        ("2", 14, signal.SIGTERM),
        ("0", 20, signal.SIGKILL),
    ):
        process = subprocess.Popen(
            command(data, out, "--workers", workers, "--knn-every", "1", "--save-minutes", "0.001"),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment(),
        )
        last = out / "checkpoints" / "last.json"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if last.exists() and json.loads(last.read_text())["step"] >= at:
                break
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert len(list((out / "checkpoints").glob("*.pt"))) <= 3
    end = run(command(data, out, "--workers", "2", "--knn-every", "1"))
    assert end.returncode == 0, end.stderr
    assert losses(out) == losses(tmp_path / "calm")
    assert (out / "metrics.jsonl").read_text().count("\n") >= STEPS // 3
    for name in ("backbone.safetensors",):
        from safetensors.numpy import load_file

        a, b = (load_file(folder / name) for folder in (out, tmp_path / "calm"))
        assert a.keys() == b.keys()
        assert all((a[key] == b[key]).all() for key in a)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rstrain.config import config_for
    from rstrain.engine.train import pretrain

    out = tmp_path_factory.mktemp("finished") / "run"
    report = pretrain(small(data, config_for), out)
    assert report.finished
    return out


def small(data: Path, config_for: Any, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "data": str(data / "set"),
        "arch": "resnet18",
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
    from rstrain.config import load_config

    assert load_config(finished / "config.toml").method.kind == "moco"


def test_other_options_other_data_damage_and_foreign_folders_are_refused(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    import shutil

    from rstrain.config import config_for
    from rstrain.engine.train import pretrain
    from shards.errors import UserError

    with pytest.raises(UserError, match=r"optim\.lr: the run has 0\.03, now 0\.1"):
        pretrain(small(data, config_for, optim={"lr": 0.1}), finished)

    build_set(tmp_path / "set", [pattern(i, 40, 40) for i in range(150)], ending="jpg")
    with pytest.raises(UserError, match="is not the data that"):
        pretrain(small(tmp_path, config_for), finished)

    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (newest,) = (copy / "checkpoints").glob("*.pt")
    content = bytearray(newest.read_bytes())
    newest.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="half written or damaged"):
        pretrain(small(data, config_for), copy)

    with pytest.raises(UserError, match="no run folder"):
        pretrain(small(data, config_for), tmp_path / "set")
    with pytest.raises(UserError, match="batch=512 is larger than"):
        pretrain(small(data, config_for, batch=512), tmp_path / "large")
    with pytest.raises(UserError, match="accumulate=3 does not divide"):
        pretrain(small(data, config_for, accumulate=3), tmp_path / "odd")
    with pytest.raises(UserError, match="needs --clusters"):
        config_for("moco-geo").build(data=str(data / "set"))


def test_a_loss_that_is_not_finite_stops_before_the_update(data: Path, tmp_path: Path) -> None:
    from rstrain.config import config_for
    from rstrain.engine import checkpoint
    from rstrain.engine.train import TrainingError, pretrain

    out = tmp_path / "run"
    config = small(data, config_for, optim={"lr": 1e30, "schedule": "constant"}, epochs=4, save_minutes=1e-4)
    with pytest.raises(TrainingError, match=r"the loss is not finite.*\n.*place-"):
        pretrain(config, out)
    (keys,) = out.glob("non-finite-step-*.txt")
    assert len(keys.read_text().split()) == 16
    state = checkpoint.load_last(out / "checkpoints")
    assert state is None or all(
        v.isfinite().all() for v in state["optimizer"]["state"][0].values() if v is not None
    )


@pytest.mark.slow
def test_torchrun_trains_and_resumes_with_two_ranks(data: Path, tmp_path: Path) -> None:
    """Two ranks, killed and resumed, give bit for bit what two undisturbed ranks give."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"]

    def start(out: Path, port: int, *more: str) -> list[str]:
        return [
            *launcher,
            str(port),
            *command(data, out, "--epochs", "1.4", "--log-every", "1", "--workers", "1", *more)[1:],
        ]

    port = 20000 + os.getpid() % 20000
    calm = run(start(tmp_path / "calm", port))
    assert calm.returncode == 0, calm.stderr
    out = tmp_path / "killed"
    process = subprocess.Popen(
        start(out, port + 1, "--save-minutes", "0.001"),
        stderr=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,
    )
    last = out / "checkpoints" / "last.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (last.exists() and json.loads(last.read_text())["step"] >= 3):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    end = run(start(out, port + 2))
    assert end.returncode == 0, end.stderr
    assert "going on from step" in end.stderr
    assert losses(out) == losses(tmp_path / "calm")
