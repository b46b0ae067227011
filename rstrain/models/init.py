"""Initial weights as a function of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from shards.errors import ConfigError


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws on the CPU from `seed`; outside, its generator goes on as if nothing had been drawn.

    Build modules on the CPU within it and move them afterwards: the same seed then gives the same weights everywhere.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def redraw(module: nn.Module) -> None:
    """Draw the weights of a network anew, in place: convolutions as torchvision's ResNets, the rest by its own rule.

    Raises:
        ConfigError: a layer keeps parameters (a table of positions, say) of which no rule is known.
    """
    for layer in module.modules():
        reset = getattr(layer, "reset_parameters", None)
        if reset is not None:
            reset()
        elif next(layer.parameters(recurse=False), None) is not None:
            raise ConfigError(
                f"{type(layer).__name__} has weights that cannot be drawn anew: start from a copy, or use a ResNet"
            )
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
