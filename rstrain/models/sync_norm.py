"""Batch norm over the batch of all ranks, on GPUs and on CPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rstrain import distributed


class _Mean(torch.autograd.Function):
    """Mean over ranks; backward gives each rank the mean of all gradients, as one process would have it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return distributed.mean(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return distributed.mean(grads[0])


class HostSyncBatchNorm(_BatchNorm):
    """What `nn.SyncBatchNorm` computes, in plain tensor operations: torch's own refuses CPU tensors.

    With the averaging of DDP the gradients are those of one process on the joined batch. All ranks must bring batches of
    one size.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, ...] -> the same shape."""
        if not self.training:
            return super().forward(input)
        over = [0, *range(2, input.dim())]
        row = (1, -1, *[1] * (input.dim() - 2))
        mean: Tensor = _Mean.apply(input.mean(dim=over))
        centred = input - mean.view(row)
        variance: Tensor = _Mean.apply(centred.square().mean(dim=over))
        self._move_running(mean, variance, input.numel() // input.shape[1] * distributed.world_size())
        out = centred * (variance + self.eps).rsqrt().view(row)
        return out if self.weight is None else out * self.weight.view(row) + self.bias.view(row)

    @torch.no_grad()
    def _move_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # any [B, C, ...]


def sync_batch_norms(module: nn.Module) -> None:
    """Turn every batch norm below `module` into one over all ranks, in place; names, weights and buffers stay.

    Does nothing with one rank. On nccl it is `nn.SyncBatchNorm`, on gloo `HostSyncBatchNorm`.
    """
    if distributed.world_size() == 1:
        return
    if dist.get_backend() == "nccl":
        nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]  # torch has no types here
        return
    for norm in module.modules():
        if isinstance(norm, _BatchNorm):
            norm.__class__ = HostSyncBatchNorm
