"""Evaluations that train, killed for real: run again they end in the numbers of an undisturbed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from builders import Place, build_set, pattern
from rstrain import distributed
from rstrain.engine.folder import locked
from rstrain.evals.base import run_eval
from rstrain.evals.common import CommonConfig
from rstrain.evals.dense import run_dense
from rstrain.evals.dense_config import ChangeConfig, DetectConfig
from rstrain.evals.tuning_config import FinetuneConfig
from rstrain.interop.backbone import BackboneFacts, CheckpointError, save_backbone
from rstrain.models.backbone import build_backbone
from scenes import build_boxes, build_pairs
from shards.errors import ConfigError

torch.set_num_threads(1)
SMALL: dict[str, Any] = {"arch": "timm:test_resnet", "size": 32, "device": "cpu"}
STEPS = 9
"""Of a fine-tuning."""
WORLD = distributed.World(0, 1, 0, torch.device("cpu"))
OFTEN = 1e-6
"""Minutes: a checkpoint after each step."""


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    places = []
    for i in range(63):
        view = 0.5 * pattern(i % 3, 40, 52) + 0.5 * pattern(100 + i, 40, 52)
        places.append(Place([view.astype(np.uint8)], label=i % 3, split="test" if i >= 42 else "train"))
    build_set(folder / "classes", places, classes=["field", "forest", "town"])
    build_boxes(folder / "boxes")
    build_pairs(folder / "pairs")
    return folder


def tuning(sets: Path, **changes: Any) -> FinetuneConfig:
    given = {"epochs": STEPS / 3, "train_batch": 14, "dropout": 0.2, "head_norm": True, "optim": {"lr": 1e-3}}
    base = {"data": str(sets / "classes"), "workers": 0}
    return FinetuneConfig.build(**(SMALL | base | given | changes))


def changing(sets: Path, **changes: Any) -> ChangeConfig:
    given = {"size": 32, "epochs": 2, "train_batch": 4, "trainable": 5, "workers": 0}
    return ChangeConfig.build(**(SMALL | {"data": str(sets / "pairs")} | given | changes))


def start(config: CommonConfig) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    assert config.out is not None
    file = config.out.with_suffix(".toml")
    file.write_text(config.to_toml())
    command = [sys.executable, "-m", "rstrain", "eval", config.kind, "--config", str(file)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env)


def step_of(course: Path) -> int:
    last = course / "last.json"
    return int(json.loads(last.read_text())["step"]) if last.exists() else 0


def signalled(process: subprocess.Popen[str], course: Path, step: int, number: signal.Signals) -> int:
    """Send a signal once a step is saved; answers the step that the checkpoint has when the process has ended."""
    deadline = time.monotonic() + 120
    while step_of(course) < step and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors and "error" not in errors, errors
    return step_of(course)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Collects an entry for each optimiser step."""
    steps: list[int] = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    try:
        yield steps
    finally:
        hook.remove()


@contextmanager
def stopping_at(step: int) -> Iterator[None]:
    """SIGTERM to this process in the middle of a step; 0: none."""
    done = 0

    def tell(*_: Any) -> None:
        nonlocal done
        done += 1
        if done == step:
            os.kill(os.getpid(), signal.SIGTERM)

    hook = register_optimizer_step_post_hook(tell)
    try:
        yield
    finally:
        hook.remove()


def same(a: Path, b: Path) -> None:
    """Every number but the seconds."""
    first, second = (json.loads(path.read_text()) for path in (a, b))
    for key in (first.keys() | second.keys()) - {"seconds", "protocol"}:
        assert first[key] == second[key], key


@pytest.mark.slow
def test_killed_fine_tuning_of_two_seeds_ends_as_an_undisturbed_one(sets: Path, tmp_path: Path) -> None:
    out, calm = tmp_path / "killed.json", tmp_path / "calm.json"
    folder = Path(f"{out}.resume")
    run_eval(tuning(sets, seeds=2, out=calm))
    process = start(tuning(sets, seeds=2, out=out, save_minutes=OFTEN, workers=1))
    saved = signalled(process, folder / "seed-1", 4, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert {p.name for p in folder.iterdir()} == {".lock", "evaluation.json", "seed-0.json", "seed-1"}
    with counted() as steps:
        run_eval(tuning(sets, seeds=2, out=out))
    assert len(steps) == STEPS - saved, "what is done is not done again"
    same(out, calm)
    assert not [p.name for p in tmp_path.iterdir() if "resume" in p.name]


@pytest.mark.slow
def test_a_change_decoder_told_to_stop_ends_as_an_undisturbed_one(sets: Path, tmp_path: Path) -> None:
    out, calm = tmp_path / "stopped.json", tmp_path / "calm.json"
    folder = Path(f"{out}.resume")
    run_dense(changing(sets, out=calm))
    process = start(changing(sets, out=out, save_minutes=OFTEN))
    signalled(process, folder / "seed-0", 3, signal.SIGTERM)
    assert process.returncode == 130
    run_dense(changing(sets, out=out))
    same(out, calm)
    assert out.with_suffix(".png").read_bytes() == calm.with_suffix(".png").read_bytes()
    assert not folder.exists()


def test_a_detector_goes_on_with_its_own_buffers_from_the_step_of_the_signal(
    sets: Path, tmp_path: Path
) -> None:
    given = SMALL | {"arch": "resnet18", "size": None, "workers": 0, "min_sizes": (64,), "max_size": 64}
    small = {"anchor_px": 16, "proposals": 20, "rois": 8, "detections": 10, "train_batch": 2, "epochs": 1 / 3}
    common = {"data": str(sets / "boxes"), "model": "dynamic-rcnn", "pictures": 0} | given | small
    out = tmp_path / "stopped.json"
    calm = run_dense(DetectConfig.build(**common))
    with stopping_at(2), pytest.raises(KeyboardInterrupt):
        run_dense(DetectConfig.build(out=out, **common))
    assert step_of(Path(f"{out}.resume") / "seed-0") == 2
    with counted() as steps:
        assert run_dense(DetectConfig.build(out=out, **common)).outcome == calm.outcome
    assert len(steps) == 2


def test_what_is_not_the_same_evaluation_is_refused_in_one_sentence(sets: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    folder = Path(f"{out}.resume")
    weights = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for seed, path in enumerate(weights):
        facts = BackboneFacts(arch="timm:test_resnet", size=32)
        save_backbone(path, build_backbone("timm:test_resnet", seed=seed), facts)
    with pytest.raises(ConfigError, match="smaller --lr"):
        run_eval(tuning(sets, out=out, epochs=1, optim={"lr": 1e30}))
    assert not folder.exists(), "where nothing is saved, nothing is left"
    base = {"out": out, "checkpoint": str(weights[0]), "arch": None}
    with stopping_at(1), pytest.raises(KeyboardInterrupt):
        run_eval(tuning(sets, **base))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    build_set(
        tmp_path / "classes",
        [Place([pattern(i)], label=i % 3, split=("train", "test")[i // 30]) for i in range(60)],
    )
    for changes, match in (
        ({"optim": {"lr": 0.1}}, r"optim\.lr: the unfinished one has 0\.001, now 0\.1\n.*remove the folder"),
        ({"checkpoint": str(weights[1])}, r"content of --checkpoint\.sha256: the unfinished one has"),
        ({"data": str(tmp_path / "classes")}, "fingerprint of --data"),
    ):
        with pytest.raises(ConfigError, match=match):
            run_eval(tuning(sets, **(base | changes)))
    with locked(folder, WORLD), pytest.raises(ConfigError, match=r"another .* is at work here"):
        run_eval(tuning(sets, **base))
    assert before.items() <= {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}.items()
    (file,) = (folder / "seed-0").glob("*.pt")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="half written or damaged"):
        run_eval(tuning(sets, **base))


RANK = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = {path!r}
from rstrain import distributed
from rstrain.engine.folder import locked
from rstrain.evals.base import run_eval
from rstrain.evals.dense import run_dense
from test_eval_resume import changing, step_of, stopping_at, tuning

sets, out = Path({sets!r}), Path({out!r})
with distributed.session("cpu") as world:
    for run, config in ((run_eval, tuning(sets, norm="train", epochs=2)), (run_dense, changing(sets, epochs=1))):
        calm = run(config)
        file = out / f"{{config.kind}}.json"
        config = config.model_copy(update={{"out": file}})
        try:
            with stopping_at(3 if world.rank else 0):
                run(config)
            sys.exit("was not stopped")
        except KeyboardInterrupt:
            pass
        assert 3 <= step_of(Path(f"{{file}}.resume") / "seed-0") <= 4
        assert run(config).outcome == calm.outcome, config.kind
        distributed.barrier()
        assert not Path(f"{{file}}.resume").exists()
distributed.leave()
"""


@pytest.mark.slow
def test_two_ranks_stop_together_and_go_on_exactly(sets: Path, tmp_path: Path) -> None:
    """A signal to one rank: both save after the same step, and end as undisturbed ones."""
    script = tmp_path / "rank.py"
    script.write_text(RANK.format(path=sys.path, sets=str(sets), out=str(tmp_path)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*launch, str(script)], capture_output=True, text=True, timeout=280, env=env)
    assert done.returncode == 0, done.stderr[:3000]
