"""Losses are computed in float32 or better, also under autocast."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """float16 and bfloat16 become float32; anything wider stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def no_autocast(x: Tensor) -> torch.autocast:
    """Context in which operations keep the precision they are given.

    `full_precision` alone does not leave autocast: a matrix product after it would be half precision again.
    """
    return torch.autocast(x.device.type, enabled=False)
