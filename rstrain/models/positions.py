"""Tables of positions of vision transformers."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from shards.errors import ConfigError


def interpolate_positions(table: Tensor, grid: int, *, extra: int = 1) -> Tensor:
    """Fit a learned table [1, extra + g*g, D] to a grid of another side: [1, extra + grid*grid, D].

    Bicubic (a = -0.75, corners not aligned, no antialias), as MAE and DeiT do; the first `extra` rows (class token)
    stay as they are.

    Raises:
        ConfigError: the table is not that of a square grid.
    """
    patches = table.shape[1] - extra
    old = math.isqrt(max(patches, 0))
    if patches < 1 or old * old != patches:
        raise ConfigError(
            f"positions of shape {tuple(table.shape)} with {extra} for tokens that are no patches: the other {patches} "
            "are no square grid, so they cannot be interpolated"
        )
    if old == grid:
        return table
    cells = table[:, extra:].float().reshape(1, old, old, -1).permute(0, 3, 1, 2)
    fitted = F.interpolate(cells, size=(grid, grid), mode="bicubic", align_corners=False)
    rows = fitted.permute(0, 2, 3, 1).flatten(1, 2).to(table.dtype)
    return torch.cat([table[:, :extra], rows], dim=1)
