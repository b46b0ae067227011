"""Sine-cosine positions of a square grid of patches, stretched by the ground that they span."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from shards.errors import ConfigError


def gsd_positions(
    res: Tensor | float, side: int, dim: int, device: torch.device | str | None = None
) -> Tensor:
    """float32 [B, 1 + side², dim]: positions of a class token (zeros) and of side x side patches, row by row.

    The patch in row i, column j has x = j * res and y = i * res; its vector is sin x, cos x, sin y, cos y, each at
    dim/4 frequencies from 1 down to 1/10000 (Reed et al. 2023, section 3.1). `res` = 1 gives the table of MAE.

    Args:
        res: [B], one for each image; or a number for all, which gives B = 1. GSD over the nominal 1 m.
        side: patches in a row.
        dim: length of a token, a multiple of 4.
        device: where to, when `res` is a number.

    Raises:
        ConfigError: `dim` is no multiple of 4.
    """
    if dim % 4:
        raise ConfigError(f"sine-cosine positions need a token length that is a multiple of 4, not {dim}")
    if isinstance(res, Tensor):
        scale = res.to(torch.float32).reshape(-1, 1, 1)
    else:
        scale = torch.full((1, 1, 1), res, dtype=torch.float32, device=device)
    band = torch.arange(dim // 4, dtype=torch.float64, device=scale.device) / (dim // 4)
    frequency = (10000.0**-band).float()
    at = torch.arange(side, dtype=torch.float32, device=scale.device)[:, None]
    angle = (
        scale * at * frequency
    )  # [B, side, dim/4]; products of an element, which autocast leaves in float32
    line = torch.cat((angle.sin(), angle.cos()), dim=-1)
    x = line[:, None].expand(-1, side, -1, -1)
    y = line[:, :, None].expand(-1, -1, side, -1)
    return F.pad(torch.cat((x, y), dim=-1).flatten(1, 2), (0, 0, 1, 0))
