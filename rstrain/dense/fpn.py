"""Feature pyramids: the maps of a body as levels of equal width (Lin et al. 2017)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

from rstrain.dense.body import Body

WIDTH = 256


class Pyramid(nn.Module):
    """Images, normalised -> five levels `0`, `1` … of 256 channels; what torchvision's detectors call a backbone."""

    def __init__(self, body: Body, extra: ExtraFPNBlock, skip: int = 0) -> None:
        super().__init__()
        self.body = body
        self._skip = skip
        self.fpn = FeaturePyramidNetwork(list(body.channels[skip:]), WIDTH, extra_blocks=extra)
        self.out_channels = WIDTH

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """[B, C, H, W] -> maps by name, fine to coarse."""
        maps = self.body(images)[self._skip :]
        levels: OrderedDict[str, Tensor] = self.fpn(OrderedDict((str(i), m) for i, m in enumerate(maps)))
        return levels


def pooled_pyramid(body: Body) -> Pyramid:
    """Four levels, and a fifth pooled from the fourth: the R-CNN family."""
    return Pyramid(body, LastLevelMaxPool())


def grown_pyramid(body: Body, *, from_body: bool) -> Pyramid:
    """Levels 3 to 7: P6 and P7 from strided convolutions on C5 of the body (mmdet's `on_input`) or on P5 (`on_output`)."""
    extra = LastLevelP6P7(body.channels[-1] if from_body else WIDTH, WIDTH)
    extra.use_P5 = not from_body  # torchvision tells it from the number of channels
    return Pyramid(body, extra, skip=1)
