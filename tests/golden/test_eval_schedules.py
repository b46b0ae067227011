"""Replay of golden/eval/lr_*: schedules of the evaluations, recorded from torch's schedulers and from Scale-MAE."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rstrain.optim.config import OptimConfig
from rstrain.optim.optimizers import set_lr


@pytest.mark.family("eval/lr_warmup_cosine")
def test_lr_warmup_cosine(case: Path) -> None:
    for name, entry in json.loads(Path(f"{case}.json").read_text()).items():
        config = OptimConfig(
            optimizer="adamw",
            lr=entry["lr"],
            min_lr=entry["min_lr"],
            warmup_epochs=entry["warmup_epochs"],
            schedule="cosine",
        )
        steps, scales = entry["iterations_per_epoch"], entry["lr_scales"]
        optimizer = torch.optim.SGD(
            [{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": s} for s in scales], lr=1.0
        )
        got, last = [], []
        for step in range(entry["epochs"] * steps):
            rate = config.lr_at(step / steps, entry["epochs"])
            set_lr(optimizer, rate)
            got.append(rate)
            last.append(optimizer.param_groups[-1]["lr"])
        np.testing.assert_allclose(got, entry["values"], rtol=1e-12, atol=0, err_msg=name)
        np.testing.assert_allclose(last, entry["last_group_values"], rtol=1e-12, atol=0, err_msg=name)


@pytest.mark.family("eval/lr_linear_eval")
def test_lr_linear_eval(case: Path) -> None:
    for name, entry in json.loads(Path(f"{case}.json").read_text()).items():
        epochs, groups = entry["epochs"], np.array(entry["values"])
        rates = sorted((k for k in entry if k.startswith("lr")), key=lambda k: (k != "lr_head", k))
        assert groups.shape == (epochs, len(rates)), name
        for group, key in enumerate(rates):
            config = OptimConfig(lr=entry[key], **settings(entry))
            got = [config.lr_at(epoch, epochs) for epoch in range(epochs)]
            np.testing.assert_allclose(got, groups[:, group], rtol=1e-9, atol=0, err_msg=f"{name} {key}")


def settings(entry: dict[str, Any]) -> dict[str, Any]:
    match entry["kind"]:
        case "vicreg":
            return {"schedule": "cosine_epoch"}
        case "multistep":
            return {"schedule": "step", "milestones": tuple(entry["milestones"])}
        case "exp":
            return {"schedule": "exponential", "gamma": entry["gamma"]}
        case kind:
            raise AssertionError(f"unknown schedule {kind}")
