"""Logits of images of any size: the whole image padded to what the network divides, or the mean of windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Forward = Callable[[Sequence[Tensor]], Tensor]
"""Images [B, C, H, W] of each date -> logits [B, K, H, W]."""
DIVIDES = 32


def whole(forward: Forward, images: Sequence[Tensor]) -> Tensor:
    """Images padded below and on the right with the mean of the training to a multiple of 32, logits cut back."""
    height, width = images[0].shape[-2:]
    below, beside = -height % DIVIDES, -width % DIVIDES
    return forward([F.pad(image, (0, beside, 0, below)) for image in images])[..., :height, :width]


def windows(forward: Forward, images: Sequence[Tensor], side: int) -> Tensor:
    """Windows of `side` pixels, a third shared with the next; where several see a pixel, the mean of their logits."""
    height, width = images[0].shape[-2:]
    grown = [F.pad(image, (0, max(0, side - width), 0, max(0, side - height))) for image in images]
    rows, cols = _starts(max(height, side), side), _starts(max(width, side), side)
    total: Tensor | None = None
    seen = grown[0].new_zeros(grown[0].shape[-2:])
    for top in rows:
        for left in cols:
            part = (..., slice(top, top + side), slice(left, left + side))
            logits = forward([image[part] for image in grown]).float()
            if total is None:
                total = logits.new_zeros((*logits.shape[:2], *seen.shape))
            total[part] += logits
            seen[part[1:]] += 1
    assert total is not None
    return (total / seen)[..., :height, :width]


def _starts(length: int, side: int) -> list[int]:
    step = max(1, side * 2 // 3)
    starts = list(range(0, max(1, length - side + 1), step))
    if starts[-1] + side < length:
        starts.append(length - side)
    return starts


def as_images(
    levels: Sequence[Tensor], mean: Sequence[float], std: Sequence[float], device: torch.device
) -> list[Tensor]:
    """Levels [B, C, H, W] of each date, normalised on the device."""
    from rstrain.data.batch import normalise

    return [normalise(pixels.to(device, non_blocking=True), mean, std) for pixels in levels]
