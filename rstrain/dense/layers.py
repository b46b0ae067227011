"""Small pieces that the heads share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def conv_norm(inside: int, out: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; sizes stay."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inside, out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )


def brought(x: Tensor, size: Sequence[int]) -> Tensor:
    """Maps at another size, bilinear."""
    return (
        x
        if list(x.shape[-2:]) == list(size)
        else F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
    )
