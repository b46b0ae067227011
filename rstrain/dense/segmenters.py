"""Segmenters: U-Net, UPerNet, DeepLabv3+ and PSANet on any body, in plain torch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP

from rstrain.dense.body import Body, Norm, Stem, dilate
from rstrain.dense.layers import brought, conv_norm
from rstrain.dense.psanet import PSANetHead
from rstrain.evals.dense_config import SegmentConfig
from rstrain.models.backbone import Backbone
from shards.errors import ConfigError

UNET_WIDTHS = (256, 128, 64, 32, 16)


class Segmenter(nn.Module):
    """A body and a head: images [B, C, H, W], normalised -> logits [B, K, H, W] of any size that the body takes."""

    def __init__(self, body: Body, head: nn.Module, aux: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.head, self.aux = body, head, aux

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits; in training those of the plain head on layer 3 as well, where there is one."""
        maps = self.body(images)
        out = [self.head(maps)]
        if self.training and self.aux is not None:
            out.append(self.aux(maps[-2]))
        return [brought(logits, images.shape[-2:]) for logits in out]


class UNet(nn.Module):
    """Five steps up, each twice as fine, with the body's map of that size beside it (Ronneberger et al. 2015).

    The widths, the nearest upsampling and the two 3x3 convolutions of a step are those of segmentation_models_pytorch.
    """

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        beside = [*reversed(channels[:-1]), 0]
        widths = UNET_WIDTHS[5 - len(channels) :] if len(channels) < 5 else UNET_WIDTHS
        inside, steps = channels[-1], []
        for skip, out in zip(beside, widths, strict=True):
            steps.append(nn.Sequential(conv_norm(inside + skip, out), conv_norm(out, out)))
            inside = out
        self.steps = nn.ModuleList(steps)
        self.logits = nn.Conv2d(inside, classes, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse -> logits at twice the size of the finest."""
        x, rest = maps[-1], list(reversed(maps[:-1]))
        for number, step in enumerate(self.steps):
            if number < len(rest):
                x = torch.cat((F.interpolate(x, size=rest[number].shape[-2:]), rest[number]), dim=1)
            else:
                x = F.interpolate(x, scale_factor=2.0)
            x = step(x)
        return cast("Tensor", self.logits(x))


class UPerNet(nn.Module):
    """Pyramid pooling on the coarsest map, a feature pyramid below it, all levels fused (Xiao et al. 2018)."""

    def __init__(self, channels: tuple[int, ...], classes: int, width: int = 512) -> None:
        super().__init__()
        *finer, top = channels
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), conv_norm(top, width, 1)) for side in (1, 2, 3, 6)
        )
        self.top = conv_norm(top + 4 * width, width)
        self.lateral = nn.ModuleList(conv_norm(c, width, 1) for c in finer)
        self.smooth = nn.ModuleList(conv_norm(width, width) for _ in finer)
        self.fuse = conv_norm(len(channels) * width, width)
        self.logits = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse -> logits at the size of the finest."""
        coarse = maps[-1]
        seen = [brought(pool(coarse), coarse.shape[-2:]) for pool in self.pools]
        x = self.top(torch.cat((coarse, *seen), dim=1))
        levels = [x]
        for finer, lateral in zip(reversed(maps[:-1]), reversed(list(self.lateral)), strict=True):
            x = lateral(finer) + brought(x, finer.shape[-2:])
            levels.insert(0, x)
        levels = [s(x) for s, x in zip(self.smooth, levels[:-1], strict=True)] + levels[-1:]
        size = levels[0].shape[-2:]
        return cast("Tensor", self.logits(self.fuse(torch.cat([brought(x, size) for x in levels], dim=1))))


class DeepLab(nn.Module):
    """Atrous pyramid pooling at rates 12, 24, 36, and layer 1 beside it (Chen et al. 2018, DeepLabv3+ at stride 8)."""

    def __init__(self, channels: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.pool = ASPP(channels[-1], [12, 24, 36], 256)
        self.fine = conv_norm(channels[0], 48, 1)
        self.fuse = nn.Sequential(conv_norm(256 + 48, 256), conv_norm(256, 256))
        self.logits = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(256, classes, 1))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps from fine to coarse -> logits at the size of the finest."""
        fine = self.fine(maps[0])
        wide = brought(self.pool(maps[-1]), fine.shape[-2:])
        return cast("Tensor", self.logits(self.fuse(torch.cat((wide, fine), dim=1))))


def build_segmenter(
    config: SegmentConfig, backbone: Backbone, classes: int, *, norm: Norm, side: int
) -> Segmenter:
    """A segmenter of `classes` classes on a backbone, for inputs of `side` pixels in training.

    Raises:
        ConfigError: the head does not go with the backbone.
    """
    resnet = not backbone.arch.startswith(("timm:", "gsd:"))
    stem: Stem | None = "relu" if config.model == "unet" and resnet and backbone.stem == "imagenet" else None
    resolution = config.base_resolution
    body = Body(backbone, norm=norm, trainable=config.trainable, stem=stem, resolution=resolution)
    if config.model in ("deeplab", "psanet"):
        dilate(body)
    head: nn.Module
    match config.model:
        case "unet":
            return Segmenter(body, UNet(body.channels, classes))
        case "upernet":
            head = UPerNet(body.channels, classes)
        case "deeplab":
            head = DeepLab(body.channels, classes)
        case "psanet":
            if side % body.strides[-1]:
                raise ConfigError(
                    f"psanet ties its attention to one size: --size {side} is no multiple of its stride {body.strides[-1]}"
                )
            head = PSANetHead(body.channels[-1], classes, side // body.strides[-1])
    aux = None
    if config.aux:
        width = body.channels[-2] // 4
        aux = nn.Sequential(
            conv_norm(body.channels[-2], width), nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1)
        )
    return Segmenter(body, head, aux)
