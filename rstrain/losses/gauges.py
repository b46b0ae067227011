"""Gauges that show what a loss hides: a collapsed embedding can keep a falling loss."""

from __future__ import annotations

import math

from torch import Tensor


def embedding_std(embedding: Tensor) -> Tensor:
    """Spread of unit vectors [B, D]: standard deviation over the batch, mean over dimensions, times √D.

    1 is that of directions spread evenly over the sphere, 0 is collapse to one point (Chen and He 2021, section 4.1).
    """
    spread: Tensor = embedding.std(dim=0, correction=0).mean()
    return spread * math.sqrt(embedding.shape[1])
