"""LARS as VICReg uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT


class LARS(Optimizer):
    """SGD with momentum whose step is scaled, tensor by tensor, to the size of the weights (You et al. 2017).

    g += weight_decay * p; g *= eta * |p| / |g|, unless one of the norms is 0; m = momentum * m + g; p -= lr * m. The
    rate is outside the momentum, so a change of it acts at once. Tensors of one dimension (biases, batch norms) get
    neither decay nor scaling, unless `exclude_1d` is off. Its state is tensors only.

    Args:
        params: parameters or groups of them.
        lr: learning rate; with batches of 256 and VICReg 0.1 … 1.
        momentum: share of the last update that stays.
        weight_decay: added before the norm is taken.
        eta: trust coefficient: length of an update over that of the weights, at rate 1 without momentum.
        exclude_1d: see above.
    """

    def __init__(
        self,
        params: ParamsT,
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.001,
        exclude_1d: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "eta": eta,
            "exclude_1d": exclude_1d,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient; gradients stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            scaled = [p for p in parameters if p.ndim != 1 or not group["exclude_1d"]]
            plain = [p for p in parameters if p.ndim == 1 and group["exclude_1d"]]
            if scaled:
                self._move(scaled, _trusted(scaled, group["weight_decay"], group["eta"]), group)
            if plain:
                self._move(plain, _gradients(plain), group)
        return loss

    def _move(self, parameters: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers: list[Tensor] = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        torch._foreach_add_(buffers, updates)
        torch._foreach_add_(parameters, buffers, alpha=-group["lr"])


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _trusted(parameters: list[Tensor], weight_decay: float, eta: float) -> list[Tensor]:
    """Decayed gradients, each as long as `eta` times its parameter."""
    updates: list[Tensor] = list(torch._foreach_add(_gradients(parameters), parameters, alpha=weight_decay))
    sizes = torch.stack(list(torch._foreach_norm(parameters)))
    steps = torch.stack(list(torch._foreach_norm(updates)))
    ratios = torch.where((sizes > 0) & (steps > 0), eta * sizes / steps, 1.0)
    torch._foreach_mul_(updates, list(ratios.unbind()))
    return updates
