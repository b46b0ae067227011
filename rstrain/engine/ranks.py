"""State that differs between ranks: running statistics of batch norms, and the sums of the log window.

A checkpoint holds it for every rank, so that the same number of ranks resumes exactly; another number starts from the
mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rstrain import distributed


def gather_state(method: nn.Module, window: dict[str, Tensor]) -> dict[str, Tensor | dict[str, Tensor]]:
    """On the CPU, [W, ...] each; every rank must call it."""
    norms = distributed.gather(_norms(method)[None])
    names = sorted(window)
    sums = {name: distributed.gather(window[name].reshape(1)).cpu() for name in names}
    return {"norms": norms.cpu(), "window": sums}


def restore_state(
    method: nn.Module, norms: Tensor, window: dict[str, Tensor], world: distributed.World
) -> dict[str, Tensor]:
    """Put the own part back; answers the window."""

    def own(stacked: Tensor) -> Tensor:
        return stacked[world.rank] if len(stacked) == world.world else stacked.mean(0)

    vector, at = own(norms), 0
    for buffer in _running(method):
        buffer.copy_(vector[at : at + buffer.numel()].view_as(buffer))
        at += buffer.numel()
    return {name: own(sums.reshape(-1)).to(world.device) for name, sums in window.items()}


def _running(method: nn.Module) -> list[Tensor]:
    return [b for name, b in method.named_buffers() if name.endswith(("running_mean", "running_var"))]


def _norms(method: nn.Module) -> Tensor:
    tensors = [b.flatten().float() for b in _running(method)]
    return torch.cat(tensors) if tensors else torch.zeros(0, device=next(method.parameters()).device)
