"""Layer-wise rates, positions and resolutions of the evaluations (README of golden/eval)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rstrain.evals.compat import scalemae_input
from rstrain.models.positions import interpolate_positions
from rstrain.optim.layers import layer_groups


@pytest.mark.family("eval/knn_resolution")
def test_resolution_given_to_the_encoder(case: Path) -> None:
    for entry in json.loads(Path(f"{case}.json").read_text()):
        side = entry["image_size"]
        images = torch.zeros(len(entry["input_res"]), 3, side, side)
        resized, res = scalemae_input(
            images,
            entry["eval_scale"],
            base=entry["eval_base_resolution"],
            relative=entry["gsd_embed"],
        )
        assert resized.shape[-2:] == (entry["network_input_side"],) * 2
        np.testing.assert_allclose(res.numpy(), entry["input_res"], rtol=1e-6)


@pytest.mark.family("eval/layer_decay")
def test_layer_decay(case: Path) -> None:
    for model, entry in json.loads(Path(f"{case}.json").read_text()).items():
        named = {
            name: nn.Parameter(torch.zeros((1,) * dimensions))
            for name, (_, _, dimensions) in entry["parameters"].items()
        }
        groups = layer_groups(
            list(named.items()), decay=entry["layer_decay"], weight_decay=entry["weight_decay"]
        )
        of = {id(p): group for group in groups for p in group["params"]}
        assert len(of) == len(named), model
        for name, (scale, weight_decay, _) in entry["parameters"].items():
            group = of[id(named[name])]
            assert group["lr_scale"] == pytest.approx(scale, rel=1e-12), f"{model} {name}"
            assert group["weight_decay"] == weight_decay, f"{model} {name}"
        np.testing.assert_allclose(
            [group["lr_scale"] for group in groups],
            entry["order_of_first_lr_scale_per_group"],
            rtol=1e-12,
            err_msg=model,
        )


@pytest.mark.family("eval/pos_embed_interpolation")
def test_interpolated_positions(case: Path) -> None:
    with np.load(f"{case}.npz", allow_pickle=False) as file:
        a = {name: file[name] for name in file.files}
    count = sum(name.startswith("in_pos_embed_") for name in a)
    assert count
    for i in range(count):
        got = interpolate_positions(
            torch.from_numpy(a[f"in_pos_embed_{i}"]),
            int(a[f"hp_new_grid_{i}"]),
            extra=int(a[f"hp_extra_tokens_{i}"]),
        )
        np.testing.assert_allclose(got.numpy(), a[f"out_pos_embed_{i}"], rtol=1e-5, atol=1e-5)
