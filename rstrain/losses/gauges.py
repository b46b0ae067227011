"""Gauges that show what a loss hides: a collapsed embedding can keep a falling loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def embedding_std(embedding: Tensor) -> Tensor:
    """Spread of unit vectors [B, D]: standard deviation over the batch, mean over dimensions, times √D.

    1 is that of directions spread evenly over the sphere, 0 is collapse to one point (Chen and He 2021, section 4.1).
    """
    spread: Tensor = embedding.std(dim=0, correction=0).mean()
    return spread * math.sqrt(embedding.shape[1])


def label_accuracy(logits: Tensor, label: Tensor, *, k: int = 1) -> Tensor:
    """Percent of rows of logits [B, C] whose class (int64 [B]) is among the `k` largest; no sort, no wait for the device."""
    own = logits.gather(1, label[:, None])
    above = (logits > own).sum(dim=1)
    return (above < k).to(torch.float32).mean() * 100.0
