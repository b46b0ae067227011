"""Optimisers from their config."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rstrain.optim.config import OptimConfig
from shards.errors import ConfigError


def build_optimizer(config: OptimConfig, module: nn.Module) -> torch.optim.Optimizer:
    """An optimiser over the parameters of `module` that want a gradient.

    Raises:
        ConfigError: nothing in `module` can be trained.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError("no parameter of the model can be trained: all of them are frozen")
    match config.optimizer:
        case "sgd":
            return torch.optim.SGD(
                parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay
            )
        case "adamw":
            matrices = [p for p in parameters if p.ndim > 1]
            vectors = [p for p in parameters if p.ndim <= 1]
            groups: list[dict[str, Any]] = [
                {"params": matrices, "weight_decay": config.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ]
            return torch.optim.AdamW(
                [g for g in groups if g["params"]], lr=config.lr, betas=(config.momentum, config.beta2)
            )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the rate `lr`, times the group's own `lr_scale` where it has one (layer-wise decay)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
