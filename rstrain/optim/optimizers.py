"""Optimisers from their config."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rstrain.optim.config import OptimConfig
from rstrain.optim.lars import LARS
from rstrain.optim.layers import layer_groups, layer_scales
from shards.errors import ConfigError


def build_optimizer(
    config: OptimConfig, module: nn.Module, factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """An optimiser over the parameters of `module` that want a gradient.

    `factors` multiply the rate of parameters by the beginning of their names; they have no part in layer-wise decay.

    Raises:
        ConfigError: nothing in `module` can be trained, or `layer_decay` meets a model without blocks to count.
    """
    groups = _groups(config, module, factors or {})
    if not groups:
        raise ConfigError("no parameter of the model can be trained: all of them are frozen")
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                groups, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
            )
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr, betas=(config.momentum, config.beta2))
        case "lars":
            return LARS(
                groups,
                lr=config.lr,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
                eta=config.eta,
            )


def _groups(config: OptimConfig, module: nn.Module, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Parameters that share a weight decay and a scale of the rate; one group where nothing sets them apart.

    The first has the highest rate: it is the one that is logged.
    """
    scales: dict[str, float] = {}
    if (
        config.layer_decay != 1.0 and config.optimizer == "adamw"
    ):  # as MAE's fine-tuning, tokens without decay
        groups = layer_groups(module, decay=config.layer_decay, weight_decay=config.weight_decay)
        return sorted(groups, key=lambda group: -float(group["lr_scale"]))
    if config.layer_decay != 1.0:
        scales = layer_scales(module, config.layer_decay)
    elif factors:
        scales = {
            name: math.prod(value for start, value in factors.items() if name.startswith(start))
            for name, _ in module.named_parameters()
        }
    shared: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, p in module.named_parameters():
        if not p.requires_grad:
            continue
        decays = config.optimizer != "adamw" or p.ndim > 1
        scale = scales.get(name, 1.0)
        new = {"params": [], "weight_decay": config.weight_decay if decays else 0.0}
        if scales:
            new["lr_scale"] = scale
        shared.setdefault((scale, decays), new)["params"].append(p)
    return [shared[key] for key in sorted(shared, reverse=True)]


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the rate `lr`, times the group's own `lr_scale` where it has one (layer-wise decay)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
