"""SGD, AdamW and LARS for classifiers that are learnt side by side, each with a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rstrain.evals.config import HeadConfig

_ADAM_EPS = 1e-8
_TRUST = 0.001


class Rule:
    """Moves L heads in place: weight [F, L * C] and bias [L * C]."""

    def __init__(self, config: HeadConfig, weight: Tensor, bias: Tensor, heads: int) -> None:
        self.config, self.weight, self.bias, self.heads = config, weight, bias, heads
        self._first = [torch.zeros_like(weight), torch.zeros_like(bias)]
        self._second = (
            [torch.zeros_like(weight), torch.zeros_like(bias)] if config.optimizer == "adamw" else []
        )
        self._steps = 0

    def step(self, weight_slope: Tensor, bias_slope: Tensor, lrs: Sequence[float]) -> None:
        """One update; a rate for each head."""
        rate = self.weight.new_tensor(lrs).repeat_interleave(len(self.bias) // self.heads)
        self._steps += 1
        slopes = (weight_slope, bias_slope)
        match self.config.optimizer:
            case "sgd":
                self._sgd(slopes, rate)
            case "adamw":
                self._adamw(slopes, rate)
            case "lars":
                self._lars(slopes, rate)

    def _sgd(self, slopes: tuple[Tensor, Tensor], rate: Tensor) -> None:
        c = self.config
        for value, speed, slope in zip((self.weight, self.bias), self._first, slopes, strict=True):
            speed.mul_(c.momentum).add_(slope).add_(value, alpha=c.weight_decay)
            value.addcmul_(speed, rate, value=-1.0)

    def _adamw(self, slopes: tuple[Tensor, Tensor], rate: Tensor) -> None:
        c = self.config
        self.weight.mul_(1 - rate * c.weight_decay)
        small, large = 1 - c.momentum**self._steps, (1 - c.beta2**self._steps) ** 0.5
        for value, mean, square, slope in zip(
            (self.weight, self.bias), self._first, self._second, slopes, strict=True
        ):
            mean.lerp_(slope, 1 - c.momentum)
            square.mul_(c.beta2).addcmul_(slope, slope, value=1 - c.beta2)
            value.addcmul_(mean / (square.sqrt() / large + _ADAM_EPS), rate / small, value=-1.0)

    def _lars(self, slopes: tuple[Tensor, Tensor], rate: Tensor) -> None:
        c = self.config
        update = slopes[0] + c.weight_decay * self.weight
        size, length = self._length(self.weight), self._length(update)
        trust = torch.where((size > 0) & (length > 0), _TRUST * size / length, 1.0)
        updates = (update * trust.repeat_interleave(len(self.bias) // self.heads), slopes[1])
        for value, speed, change in zip((self.weight, self.bias), self._first, updates, strict=True):
            speed.mul_(c.momentum).add_(change)
            value.addcmul_(speed, rate, value=-1.0)

    def _length(self, x: Tensor) -> Tensor:
        """Norm of each head's weights, [L]."""
        return x.view(len(x), self.heads, -1).square().sum(dim=(0, 2)).sqrt()
