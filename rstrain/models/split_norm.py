"""Batch norm whose training statistics come from parts of the batch, as they do when the parts lie on several ranks."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from shards.errors import ConfigError


class SplitBatchNorm2d(nn.BatchNorm2d):
    """`splits` contiguous parts of the batch, each normalised by its own mean and variance.

    The running statistics move by the mean of the parts' updates. They do not act on training, so averaging them over
    ranks at the end (`distributed.average_batch_norms`) gives what one process with as many splits has.
    """

    splits: int = 1

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape; B must be a multiple of `splits`."""
        if not self.training or self.splits == 1 or self.running_mean is None or self.running_var is None:
            return super().forward(input)
        if self.momentum is None:
            raise ConfigError(
                "bn_splits needs batch norms with a momentum; this model has a cumulative average"
            )
        means = self.running_mean.repeat(self.splits, 1)
        variances = self.running_var.repeat(self.splits, 1)
        parts = [
            F.batch_norm(part, mean, variance, self.weight, self.bias, True, self.momentum, self.eps)
            for part, mean, variance in zip(input.chunk(self.splits), means, variances, strict=True)
        ]
        with torch.no_grad():
            self.running_mean.copy_(means.mean(dim=0))
            self.running_var.copy_(variances.mean(dim=0))
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        return torch.cat(parts)


def has_batch_norm(module: nn.Module) -> bool:
    """Whether samples of a batch see each other in `module`."""
    return any(isinstance(m, _BatchNorm) for m in module.modules())


def split_batch_norms(module: nn.Module, splits: int) -> None:
    """Turn every batch norm in `module` into a split one, in place; names, weights and buffers stay.

    Raises:
        ConfigError: the model has batch norms of another kind than `nn.BatchNorm2d`.
    """
    if splits == 1:
        return
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    other = sorted({type(m).__name__ for m in norms if type(m) not in (nn.BatchNorm2d, SplitBatchNorm2d)})
    if other:
        raise ConfigError(
            f"bn_splits={splits} works with BatchNorm2d only; this model has {', '.join(other)}: set bn_splits=1 or "
            f"choose a plain ResNet"
        )
    for norm in norms:
        norm.__class__ = SplitBatchNorm2d
        cast(SplitBatchNorm2d, norm).splits = splits
