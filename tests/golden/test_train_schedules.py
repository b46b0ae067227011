"""Replay of the learning rates of the pretraining runs; those of moco stand with moco, of evaluations with those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rstrain.optim.compat import city_lr
from rstrain.optim.config import OptimConfig


def recorded(case: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(Path(f"{case}.json").read_text())
    return values


def same(got: list[float], expected: list[float], what: str) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0, err_msg=what)


@pytest.mark.family("vicreg/lr_schedule")
def test_vicreg(case: Path) -> None:
    run = recorded(case)
    lr, batch, epochs, per_epoch = (run[k] for k in ("base_lr", "batch_size", "epochs", "steps_per_epoch"))
    config = OptimConfig(lr=lr, scale_lr="batch256", warmup_epochs=10, min_lr_share=0.001)

    def rate(name: str, step: int) -> float:
        if name in ("upstream", "unchanged"):
            return config.lr_at(step / per_epoch, epochs, batch=batch)
        return city_lr(
            name,  # type: ignore[arg-type]
            step,
            base_lr=lr,
            batch=batch,
            epochs=epochs,
            steps_per_epoch=per_epoch,
        )

    for name, variant in run["variants"].items():
        done = len(variant["values"])
        same([rate(name, step) for step in range(done)], variant["values"], name)
        if "error" in variant:
            with pytest.raises(ZeroDivisionError):
                rate(name, done)
        else:
            assert done == epochs * per_epoch


@pytest.mark.family("gersp/lr_schedule")
def test_gersp(case: Path) -> None:
    for name, run in recorded(case).items():
        config = OptimConfig(
            lr=run["base_lr"],
            min_lr=run["min_lr"],
            schedule="cosine_restarts",
            periods=tuple(run["periods"]),
            restart_weights=tuple(run["restart_weights"]),
        )
        epochs = len(run["values"])
        same([config.lr_at(epoch + 0.5, epochs) for epoch in range(epochs)], run["values"], name)


@pytest.mark.family("seco/lr_schedule")
def test_seco(case: Path) -> None:
    for name, run in recorded(case).items():
        config = OptimConfig(
            lr=run["lr"],
            schedule="cosine_epoch" if run["cosine"] else "step",
            milestones=tuple(run["schedule"]),
        )
        got = [config.lr_at(epoch + 0.5, run["epochs"]) for epoch in range(len(run["values"]))]
        same(got, run["values"], name)
