"""What holds for every method: it learns from shards, is killed for real, and ends as if it had not been."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from builders import Place, build_set, pattern
from pipelines.all import PIPELINES
from pipelines.from_shards import FromShards
from pipelines.geography_aware import GeographyAware
from pipelines.quickstart import Quickstart
from rstrain.config import TrainConfig, config_for, load_config
from rstrain.engine.log import read_metrics
from rstrain.engine.train import pretrain
from rstrain.methods import method_kinds
from runs import kill_at, same_end, start
from shards.errors import UserError

torch.set_num_threads(1)
LIGHT = {"decoder_dim": 32, "decoder_depth": 1, "decoder_heads": 4}
VIT = {"arch": "timm:test_vit", "augment": {"size": 32}, "method": LIGHT | {"checkpoint_blocks": True}}
SMALL: dict[str, dict[str, Any]] = {
    "moco": {"method": {"queue": 64, "bn_splits": 2, "temperature": 0.2}},
    "seco": {"method": {"queue": 64}},
    "vicreg": {"method": {"expander": "32-32-32"}},
    "mae": VIT,
    "scalemae": {
        "arch": "gsd:vit_tiny_patch16_224",
        "augment": {"size": 64, "window": 0},
        "method": LIGHT | {"head_dim": 16, "head_layers": 1},
    },
    "gersp": {"method": {"queue": 64}},
    "supervised": {},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("methods")
    places = [Place([pattern(10 * i + v, 72, 72) for v in range(1 + i % 4)], label=i % 3) for i in range(40)]
    build_set(folder / "set", places, ending="jpg", samples_per_shard=20)
    labelled = [Place([pattern(9000 + i, 72, 72)], label=i % 5) for i in range(50)]
    build_set(folder / "labelled", labelled, ending="jpg", samples_per_shard=30)
    return folder


def config(kind: str, data: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "data": str(data / "set"),
        "arch": "timm:test_resnet",
        "batch": 16,
        "epochs": 1.5,
        "log_every": 2,
        "device": "cpu",
        "threads": 1,
        "augment": {"size": 32},
        "optim": {"lr": 0.01, "warmup_epochs": 0, "schedule": "cosine"},
    }
    if method_kinds()[kind](kind=kind).second:
        values["data2"] = str(data / "labelled")
    return config_for(kind).build(**(values | SMALL[kind.split("-")[0]] | changes))


def test_every_kind_is_tried() -> None:
    assert {kind.split("-")[0] for kind in method_kinds()} == set(SMALL)


def test_a_run_reads_back_the_config_it_wrote(data: Path, tmp_path: Path) -> None:
    """Else an interrupted run would find that it is another one."""
    written = [config(kind, data) for kind in SMALL] + list(Quickstart().train(tmp_path).values())
    for size in ("full", "small"):
        written.append(GeographyAware.build(size=size).train(tmp_path))
        recipes = [kind for kind in PIPELINES.values() if issubclass(kind, FromShards)]
        assert len(recipes) == 4
        written += [kind.build(size=size).train() for kind in recipes]
    for number, one in enumerate(written):
        path = tmp_path / f"{number}.toml"
        path.write_text(one.to_toml())
        assert load_config(path) == one


@pytest.mark.slow
@pytest.mark.parametrize("kind", SMALL)
def test_killed_and_resumed_it_ends_the_same(kind: str, data: Path, tmp_path: Path) -> None:
    calm, out = tmp_path / "calm", tmp_path / "killed"
    assert pretrain(config(kind, data, workers=0), calm).finished
    often = config(kind, data, workers=1, save_minutes=0.0001, keep=2)
    assert kill_at(start(often, out), out, 3, signal.SIGKILL) == -signal.SIGKILL
    assert pretrain(config(kind, data, workers=2), out).finished
    same_end(out, calm)
    assert all(0.0 < record["embedding_std"] < 2.0 for record in read_metrics(calm))


def test_the_second_set_is_part_of_the_run(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    short = {"epochs": 0.5, "workers": 0}
    assert pretrain(config("gersp", data, **short), out).finished
    other = [Place([pattern(i, 72, 72)], label=i % 5) for i in range(50)]
    build_set(tmp_path / "other", other, ending="jpg")
    with pytest.raises(UserError, match="is not the data that"):
        pretrain(config("gersp", data, data2=str(tmp_path / "other"), **short), out)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("moco", {"data2": "elsewhere"}, "reads one data set"),
        ("gersp", {"data2": None}, "give the second with --data2"),
        ("gersp", {"batch": 64}, "less than a batch of 64"),
        ("scalemae", {"method": {"gsd": "true"}}, "have no GSD above zero"),
        ("mae", {"parallel": "fsdp"}, "there is one: start with torchrun, or leave it at ddp"),
    ],
)
def test_what_does_not_go_together(
    kind: str, changes: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        pretrain(config(kind, data, workers=0, **changes), tmp_path / "run")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("seco", {}),
        ("seco", {"method": {"queue": 64, "mode": "moco_tp"}}),
        ("vicreg", {"method": {"expander": "32-32", "pairs": "temporal"}}),
        ("moco-tp", {"method": {"queue": 64}}),
    ],
)
def test_dates_are_compared_only_where_there_are_some(
    kind: str, changes: dict[str, Any], data: Path, tmp_path: Path
) -> None:
    once = [Place([pattern(i, 72, 72)], label=i % 3) for i in range(40)]
    build_set(tmp_path / "once", once, ending="jpg")
    one = config(kind, data, workers=0, **changes).model_copy(update={"data": str(tmp_path / "once")})
    with pytest.raises(UserError, match=r"compares dates of one place, and every place of .* has one"):
        pretrain(one, tmp_path / "run")


RANK = """
import os, signal, sys
from pathlib import Path
from torch.optim.optimizer import register_optimizer_step_post_hook
from rstrain import distributed
from rstrain.config import load_config
from rstrain.engine.train import pretrain

steps = 0

def told_to_leave(*_):
    global steps
    steps += 1
    if steps == 2:
        os.kill(os.getpid(), signal.SIGTERM)

folder = Path(sys.argv[1])
with distributed.session("cpu"):
    for path in sorted(folder.glob("*.toml")):
        config, out = load_config(path), path.with_suffix("")
        if path.stem.endswith("stopped"):
            steps = 0
            hook = register_optimizer_step_post_hook(told_to_leave)
            assert not pretrain(config, out).finished
            hook.remove()
        assert pretrain(config, out).finished
distributed.leave()
"""


@pytest.mark.slow
def test_shares_of_the_weights_train_as_copies_do(data: Path, tmp_path: Path) -> None:
    """FSDP2 on two ranks, every method: the numbers of DDP; stopped and resumed, its own to the last bit."""
    for kind in SMALL:
        plain = {"workers": 0, "epochs": 0.7, "log_every": 1, "knn_every": 0.5, "accumulate": 2}
        optim = {"optimizer": "sgd", "lr": 0.001, "warmup_epochs": 0}  # rounding grows with the rate
        for name, parallel in (("copies", "ddp"), ("shares", "fsdp"), ("stopped", "fsdp")):
            one = config(kind, data, **plain, parallel=parallel, optim=optim)
            (tmp_path / f"{kind}-{name}.toml").write_text(one.to_toml())
    (tmp_path / "rank.py").write_text(RANK)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launch, str(tmp_path / "rank.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    for kind in SMALL:
        copies, shares = (tmp_path / f"{kind}-{name}" for name in ("copies", "shares"))
        same_end(tmp_path / f"{kind}-stopped", shares)
        for a, b in zip(read_metrics(copies), read_metrics(shares), strict=True):
            close = 1e-5 if a["step"] <= 3 else 1e-2  # a difference in rounding grows with every step
            assert a["loss"] == pytest.approx(b["loss"], rel=close), (kind, a["step"])
        x, y = (load_file(run / "backbone.safetensors") for run in (copies, shares))
        assert x.keys() == y.keys()
        one, other = (torch.cat([part[name].flatten().float() for name in sorted(part)]) for part in (x, y))
        assert (one - other).norm() <= 1e-3 * other.norm(), kind
