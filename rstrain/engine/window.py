"""Window: means of what a method logs, over the steps and ranks since the last record."""

from __future__ import annotations

import torch
from torch import Tensor

from rstrain import distributed
from rstrain.methods.base import StepOutput

_STEPS = "steps"


class Window:
    """Sums stay on the device, so that a step never waits for a number that nobody reads yet."""

    def __init__(self, sums: dict[str, Tensor] | None = None) -> None:
        self.sums = sums or {}

    def add(self, output: StepOutput, parts: int) -> None:
        """Take in one of the `parts` of a step."""
        loss = output.loss.detach()
        for key, value in {_STEPS: torch.ones_like(loss), "loss": loss, **output.logs}.items():
            self.sums[key] = self.sums.get(key, torch.zeros_like(value)) + value / parts

    def take(self) -> dict[str, float]:
        """The means, the same on all ranks; the window starts anew."""
        steps = self.sums.pop(_STEPS)
        names = sorted(self.sums)
        joined = distributed.mean(torch.stack([self.sums[name] / steps for name in names])).tolist()
        self.sums = {}
        return dict(zip(names, joined, strict=True))
