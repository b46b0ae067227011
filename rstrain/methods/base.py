"""Method: what the training loop drives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rstrain.methods.config import MethodConfig, Pairing, RunFacts

__all__ = ["Batch", "Method", "MethodConfig", "Pairing", "RunFacts", "StepOutput"]


@dataclass
class Batch:
    """One micro-batch of one rank, on the device."""

    views: tuple[Tensor, ...]
    """Each float [B, C, H, W], normalised."""
    rows: Tensor
    """int64 [B], rows of the index: names the samples in an error message."""
    step: int
    """Optimiser step since the start of the run, the same on each rank: addresses anything random in a method."""
    label: Tensor | None = None
    """int64 [B], class."""
    geo: Tensor | None = None
    """int64 [B], geo cluster."""
    zoom: Tensor | None = None
    """float32 [V, B], pixels of the stored image that one pixel of a view spans."""
    gsd: Tensor | None = None
    """float32 [V, B], metres on the ground that one pixel of a view spans; only where the method asks for it."""
    second: Batch | None = None
    """Samples of the second data set in the same step; only where the method asks for it."""

    def parts(self, count: int) -> list[Batch]:
        """Micro-batches of equal size, in order."""
        size = len(self.rows) // count
        second = [None] * count if self.second is None else self.second.parts(count)

        def cut(column: Tensor | None, at: int) -> Tensor | None:
            return None if column is None else column[..., at : at + size]

        return [
            Batch(
                views=tuple(view[at : at + size] for view in self.views),
                rows=self.rows[at : at + size],
                step=self.step,
                label=cut(self.label, at),
                geo=cut(self.geo, at),
                zoom=cut(self.zoom, at),
                gsd=cut(self.gsd, at),
                second=other,
            )
            for at, other in zip(range(0, count * size, size), second, strict=True)
        ]


@dataclass
class StepOutput:
    """What one forward gives."""

    loss: Tensor
    """Scalar with a graph."""
    logs: dict[str, Tensor]
    """Detached scalars on the device; reading them is the loop's choice, so no step waits for the device."""


class Method(nn.Module):
    """A self-supervised objective round an encoder.

    An optimiser step is: `before_step`, then `forward` and backward for each micro-batch, the optimiser, `after_step`.
    `forward` is called through DDP with `broadcast_buffers=False`: queues are equal on all ranks by construction, and
    running statistics of batch norms are averaged by `distributed.average_batch_norms` when they are wanted.
    """

    def before_step(self) -> None:
        """Once an optimiser step, before the first forward."""

    def forward(self, batch: Batch) -> StepOutput:
        """Loss of one micro-batch, a mean over its samples."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Once an optimiser step, after the optimiser; not called for a step that was given up."""

    @property
    def encoder(self) -> nn.Module:
        """What evaluation and export take: images [B, C, H, W] -> features [B, F]."""
        raise NotImplementedError

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile in place the parts that hold the work; what talks to other ranks stays as it is."""
        self.encoder.compile(*args, **kwargs)
