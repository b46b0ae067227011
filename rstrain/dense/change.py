"""Two dates to what changed between them: the decoder of Seasonal Contrast (Mañas et al. 2021, `models/segmentation.py`)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain.dense.body import Body, Norm, Stem
from rstrain.dense.layers import brought
from rstrain.models.backbone import Backbone


class _Up(nn.Module):
    def __init__(self, inside: int, out: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(inside, out, 3, padding=1)
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.3),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.shrink(F.interpolate(x, size=skip.shape[-2:]))
        return cast("Tensor", self.fuse(torch.cat((x, skip), dim=1)))


class ChangeDecoder(nn.Module):
    """Differences of five scales, from fine to coarse -> one logit a pixel at twice the finest."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        pairs = list(zip(channels[1:], channels[:-1], strict=True))
        self.steps = nn.ModuleList(_Up(inside, out) for inside, out in reversed(pairs))
        self.logit = nn.Conv2d(channels[0], 1, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps [B, C_i, H_i, W_i] -> [B, 1, 2 H_0, 2 W_0]; upsampling repeats the nearest pixel."""
        x = maps[-1]
        for step, skip in zip(self.steps, reversed(maps[:-1]), strict=True):
            x = step(x, skip)
        return cast("Tensor", self.logit(F.interpolate(x, scale_factor=2.0)))


class ChangeNet(nn.Module):
    """One body for both dates, and the decoder on the absolute differences of its maps."""

    def __init__(self, backbone: Backbone, *, norm: Norm, trainable: int, resolution: float = 1.0) -> None:
        super().__init__()
        resnet = not backbone.arch.startswith(("timm:", "gsd:"))
        stem: Stem | None = "conv" if resnet else None
        self.body = Body(backbone, norm=norm, trainable=trainable, stem=stem, resolution=resolution)
        self.decoder = ChangeDecoder(self.body.channels)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Images [B, C, H, W] of two dates, normalised -> logits [B, H, W]."""
        maps = [(a - b).abs() for a, b in zip(self.body(before), self.body(after), strict=True)]
        return brought(self.decoder(maps), before.shape[-2:])[:, 0]
