"""Layer-wise learning rates of a vision transformer: the nearer to the image, the slower (ELECTRA, BEiT, MAE)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from shards.errors import ConfigError

_EMBEDDING = re.compile(r"(?:^|\.)(?:cls_token|pos_embed|reg_token|dist_token|patch_embed\..*)$")
_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")
_TOKENS = ("cls_token", "pos_embed", "reg_token", "dist_token")

Named = Iterable[tuple[str, nn.Parameter]]


def layer_scales(module: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter that wants a gradient, by its name in `module`.

    decay ** (depth + 1 - layer): class token, positions and patch embedding are layer 0, block i is layer i + 1, and
    all else (last norm, heads) is layer depth + 1, with factor 1.

    Raises:
        ConfigError: `decay` is not 1 and there are no blocks to count.
    """
    layers, top = _layers([name for name, p in module.named_parameters() if p.requires_grad], decay)
    return {name: decay ** (top - at) for name, at in layers.items()}


def layer_groups(parameters: nn.Module | Named, *, decay: float, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser with `lr_scale` (which `set_lr` heeds) and `weight_decay`, in the order of the layers.

    Tensors of one dimension, tokens and positions have no weight decay.

    Raises:
        ConfigError: `decay` is not 1 and there are no blocks to count.
    """
    named = parameters.named_parameters() if isinstance(parameters, nn.Module) else parameters
    wanted = [(name, p) for name, p in named if p.requires_grad]
    layers, top = _layers([name for name, _ in wanted], decay)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, p in wanted:
        bare = p.ndim <= 1 or name.rsplit(".", 1)[-1] in _TOKENS
        fresh = {
            "params": [],
            "lr_scale": decay ** (top - layers[name]),
            "weight_decay": 0.0 if bare else weight_decay,
        }
        groups.setdefault((layers[name], bare), fresh)["params"].append(p)
    return [group for _, group in sorted(groups.items(), key=lambda item: item[0][0])]


def _layers(names: list[str], decay: float) -> tuple[dict[str, int], int]:
    """The layer of each parameter, and depth + 1."""
    blocks = {name: int(found[1]) for name in names if (found := _BLOCK.search(name))}
    if not blocks and decay != 1.0:
        raise ConfigError(
            f"layer_decay={decay:g} counts the blocks of a vision transformer, and this model has none: use 1, or "
            "--arch timm:vit_base_patch16_224"
        )
    top = max(blocks.values(), default=-1) + 2
    return {n: blocks[n] + 1 if n in blocks else 0 if _EMBEDDING.search(n) else top for n in names}, top
