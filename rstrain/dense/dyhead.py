"""DyHead: attention over scale, space and task on a pyramid (Dai et al. 2021, arXiv 2106.08322), as mmdetection builds it."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

_POINTS = 9


class _Modulated(nn.Module):
    """A deformable 3x3 convolution with a mask, and a norm over groups of 16 channels."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        nn.init.normal_(self.weight, std=0.01)
        self.norm = nn.GroupNorm(16, width)
        self.stride = stride

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        size = [-(-side // self.stride) for side in x.shape[-2:]]
        if (
            list(offset.shape[-2:]) != size
        ):  # those of a finer level steer the coarser: mmdetection takes their upper left part
            offset = F.interpolate(offset, size=size, mode="bilinear", align_corners=False)
            mask = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
        with torch.autocast(x.device.type, enabled=False):
            out = deform_conv2d(
                x.float(),
                offset.float(),
                self.weight.float(),
                stride=self.stride,
                padding=1,
                mask=mask.float(),
            )
        normed: Tensor = self.norm(out)
        return normed


class _Task(nn.Module):
    """Dynamic ReLU: the larger of two lines, whose slopes and offsets the image decides; nearly a plain ReLU at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, width // 4, 1)
        self.wide = nn.Conv2d(width // 4, 4 * width, 1)
        _start(self.narrow, self.wide)

    def forward(self, x: Tensor) -> Tensor:
        t = self.wide(F.relu(self.narrow(x.mean((2, 3), keepdim=True))))
        a1, b1, a2, b2 = (F.hardsigmoid(t) - 0.5).chunk(4, dim=1)
        return torch.maximum(x * (2 * a1 + 1) + b1, x * (2 * a2) + b2)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.above, self.own, self.below = _Modulated(width, 1), _Modulated(width, 1), _Modulated(width, 2)
        self.steer = nn.Conv2d(width, 3 * _POINTS, 3, padding=1)
        nn.init.zeros_(self.steer.weight)
        assert self.steer.bias is not None
        nn.init.zeros_(self.steer.bias)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 1, 1), nn.ReLU(), nn.Hardsigmoid()
        )
        _start(self.weigh[1])
        self.task = _Task(width)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        out = []
        for level, x in enumerate(maps):
            offset, mask = self.steer(x).split((2 * _POINTS, _POINTS), dim=1)
            mask = mask.sigmoid()
            parts = [self.own(x, offset, mask)]
            if level > 0:
                parts.append(self.below(maps[level - 1], offset, mask))
            if level < len(maps) - 1:
                above = self.above(maps[level + 1], offset, mask)
                parts.append(F.interpolate(above, size=x.shape[-2:], mode="bilinear", align_corners=True))
            total = sum((part * self.weigh(part) for part in parts), torch.zeros_like(x)) / len(parts)
            out.append(self.task(total))
        return out


def _start(*convolutions: nn.Module) -> None:
    """Weights N(0, 0.01) and biases 0, as mmdetection's."""
    for conv in convolutions:
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)


class DyHead(nn.Module):
    """A pyramid by name -> the same shapes, after `blocks` blocks."""

    def __init__(self, blocks: int = 6, width: int = 256) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(width) for _ in range(blocks)])
        self.out_channels = width

    def forward(self, levels: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Maps [B, 256, H, W] from fine to coarse."""
        maps = list(levels.values())
        for block in self.blocks:
            maps = block(maps)
        return OrderedDict(zip(levels, maps, strict=True))
