from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rstrain.models.backbone import build_backbone
from rstrain.optim.config import OptimConfig
from rstrain.optim.layers import layer_groups, layer_scales
from rstrain.optim.optimizers import build_optimizer, set_lr
from rstrain.optim.schedule import cosine
from shards.errors import ConfigError


def test_published_cosine() -> None:
    config = OptimConfig(schedule="cosine_epoch")  # 0.03 over 200 epochs, as the authors ran it
    got = [config.lr_at(e, 200) for e in (0, 50, 50.99, 100, 199)]
    assert got == pytest.approx([0.03, 0.025607, 0.025607, 0.015, 1.85e-6], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "make"),
    [
        ({"schedule": "cosine_epoch"}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 30)),
        (
            {"schedule": "step", "milestones": (10, 20)},
            lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [10, 20]),
        ),
        ({"schedule": "exponential", "gamma": 0.9}, lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9)),
    ],
)
def test_schedules_are_those_of_torch(options, make) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimizer)
    config = OptimConfig(lr=0.3, **options)
    for epoch in range(30):
        assert config.lr_at(epoch, 30) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()


@given(
    at=st.floats(0, 120),
    total=st.floats(1, 100),
    share=st.floats(0, 0.9),
    floor=st.floats(0, 1),
)
def test_cosine_stays_between_its_ends(at: float, total: float, share: float, floor: float) -> None:
    rate = cosine(1.0, at, total, warmup=share * total, min_lr=floor)
    low = 0.0 if at < share * total else floor
    assert low - 1e-12 <= rate <= 1.0 + 1e-12
    if at >= total:
        assert rate == floor, "past the end the rate stays"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "step", "warmup_epochs": 2}, "warmup_epochs=2 has no meaning for schedule=step"),
        ({"min_lr": 1.0}, "min_lr=1 is above lr=0.03"),
        ({"lr": -1}, "options: lr: "),
        ({"optimiser": "sgd"}, "optimiser: unknown key; known: "),
    ],
)
def test_settings_at_odds_are_refused(options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OptimConfig.build(**options)


def test_sgd_decays_norms_and_biases_adamw_does_not() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1).requires_grad_(False))
    sgd = build_optimizer(OptimConfig(), module)
    assert [(len(g["params"]), g["weight_decay"]) for g in sgd.param_groups] == [(4, 1e-4)]
    adamw = build_optimizer(OptimConfig(optimizer="adamw", weight_decay=0.05), module)
    assert [(len(g["params"]), g["weight_decay"]) for g in adamw.param_groups] == [(1, 0.05), (3, 0.0)]
    set_lr(sgd, 0.5)
    assert sgd.param_groups[0]["lr"] == 0.5
    with pytest.raises(ConfigError, match="frozen"):
        build_optimizer(OptimConfig(), module.requires_grad_(False))


def test_configs_import_no_torch() -> None:
    code = "import sys, rstrain.methods, rstrain.optim.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_layer_scales_of_a_model_inside_another() -> None:
    backbone = build_backbone("timm:vit_tiny_patch16_224", size_px=32)
    backbone.net.cls_token.requires_grad_(False)
    scales = layer_scales(backbone, 0.5)
    assert "net.cls_token" not in scales
    assert scales["net.patch_embed.proj.bias"] == scales["net.pos_embed"] == 0.5**13
    assert scales["net.blocks.11.mlp.fc1.weight"] == 0.5 and scales["net.norm.weight"] == 1.0
    groups = layer_groups(backbone, decay=0.5, weight_decay=0.1)
    assert sum(len(group["params"]) for group in groups) == len(scales)
    assert [group["lr_scale"] for group in groups] == sorted(group["lr_scale"] for group in groups)
    assert set(layer_scales(build_backbone("resnet18"), 1.0).values()) == {1.0}
    with pytest.raises(ConfigError, match=r"layer_decay=0.5 counts the blocks"):
        layer_scales(build_backbone("resnet18"), 0.5)
