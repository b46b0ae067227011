"""Scale-MAE's decoder: one trunk, and two branches that predict the fine and the coarse band of an image.

Reed et al. 2023, section 3.2. Names of tensors are the authors'. A token of the map becomes 32 px of the fine band and
16 px of the coarse one, whatever the patch was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain.models.gsd import gsd_positions
from rstrain.models.mae_decoder import Trunk

HIGH_PX, LOW_PX = 32, 16
"""Pixels of each band for a token."""


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same."""
        out: Tensor = self.ln(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


def _up(inside: int, outside: int, by: int) -> nn.Module:
    return nn.ConvTranspose2d(inside, outside, kernel_size=by, stride=by)


class Pyramid(nn.Module):
    """[B, dim, g, g] -> fine map of side 4g and coarse map of side 2g.

    `progressive`: the fine map goes on from the coarse one instead of having a first step of its own.
    """

    def __init__(self, dim: int, *, progressive: bool = False) -> None:
        super().__init__()
        self.progressive = progressive
        first = [] if progressive else [_up(dim, dim, 2)]
        self.fpn1 = nn.Sequential(*first, ChannelNorm(dim), nn.GELU(), _up(dim, dim, 2))
        self.fpn2 = nn.Sequential(_up(dim, dim, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Fine and coarse map."""
        low = self.fpn2(x)
        return self.fpn1(low if self.progressive else x), low


class Mixer(nn.Module):
    """A depthwise and a pointwise convolution beside a learnt 1x1 (there is no identity path)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        half = dim // 2
        self.convs = nn.Sequential(
            nn.GELU(), nn.Conv2d(dim, half, 3, padding=1, groups=half), nn.GELU(), nn.Conv2d(half, dim, 1)
        )
        self.residual = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, dim, H, W] -> the same."""
        out: Tensor = self.convs(x) + self.residual(x)
        return out


class BandHead(nn.Module):
    """[B, dim, H, H] -> one band of the image, [B, bands, 8H, 8H]."""

    def __init__(self, dim: int, hidden: int, layers: int, bands: int) -> None:
        super().__init__()
        half, quarter = hidden // 2, hidden // 4
        self.proj = nn.Conv2d(dim, hidden, 1)
        self.conv_blocks = nn.Sequential(*(Mixer(hidden) for _ in range(layers)))
        self.pred = nn.Sequential(
            ChannelNorm(hidden),
            _up(hidden, half, 4),
            nn.GELU(),
            nn.Conv2d(half, quarter, 3, padding=1, groups=quarter),
            nn.GELU(),
            nn.Conv2d(quarter, half, 1),
            nn.GELU(),
            _up(half, bands, 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, dim, H, H] -> [B, bands, 8H, 8H]."""
        out: Tensor = self.pred(self.conv_blocks(self.proj(x)))
        return out


class BandDecoder(Trunk):
    """Seen tokens -> both bands of the image.

    Positions are those of the *input's* resolution, as in the authors' code. `mask_token_decoder` and
    `decoder_pos_embed` are never used there either; they stay so that released checkpoints fit.
    """

    mask_token_decoder: Tensor
    decoder_pos_embed: Tensor

    def __init__(
        self,
        features: int,
        *,
        patches: int,
        bands: int = 3,
        dim: int = 512,
        depth: int = 3,
        heads: int = 16,
        hidden: int = 512,
        layers: int = 2,
        shared_head: bool = False,
        progressive: bool = False,
        save_memory: bool = False,
    ) -> None:
        super().__init__(features, dim=dim, depth=depth, heads=heads, save_memory=save_memory)
        self.register_buffer("mask_token_decoder", torch.zeros(1, 1, dim))
        self.register_buffer("decoder_pos_embed", torch.zeros(1, 1 + patches, dim))
        self.fpn = Pyramid(dim, progressive=progressive)
        self.heads = ("fcn", "fcn") if shared_head else ("fcn_high", "fcn_low")
        for name in dict.fromkeys(self.heads):
            self.add_module(name, BandHead(dim, hidden, layers, bands))

    def forward(self, latent: Tensor, restore: Tensor, res: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1 + K, F] and resolutions [B] -> fine band [B, C, 32g, 32g], coarse band [B, C, 16g, 16g]."""
        x = self.unshuffled(latent, restore)
        side = round(restore.shape[1] ** 0.5)
        x = x + gsd_positions(res, side, self.dim).to(x.dtype)
        x = self.decoded(x[:, 1:])  # the class token stays behind
        maps = self.fpn(x.transpose(1, 2).reshape(len(x), self.dim, side, side))
        high, low = (self.get_submodule(name)(x) for name, x in zip(self.heads, maps, strict=True))
        return high, low


def band_targets(
    images: Tensor, side: int, bands: tuple[int, int], *, paper: bool = False
) -> tuple[Tensor, Tensor]:
    """What the branches should predict of [B, C, T, T]: fine [B, C, 32g, 32g] and coarse [B, C, 16g, 16g], g = `side`.

    The fine band is the image less its average over `bands[0]` x `bands[0]` cells. The coarse one is, in the code, the
    image at 16g px, where `bands[1]` has no effect (but 224, through which it then goes first); in the paper the
    average over `bands[1]` x `bands[1]` cells.
    """
    high, low = bands
    fine = images - _smooth(_area(images, high), HIGH_PX * side)
    if paper:
        return fine, _smooth(_area(images, low), LOW_PX * side)
    return fine, _area(_area(images, 224) if low == 224 else images, LOW_PX * side)


def recomposed(high: Tensor, low: Tensor, band: int) -> Tensor:
    """The image that both predictions make together, [B, C, 32g, 32g]; for looking at."""
    return _smooth(_area(low, band), high.shape[-1]) + high


def _area(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, size=(side, side), mode="area")


def _smooth(images: Tensor, side: int) -> Tensor:
    return F.interpolate(images, size=(side, side), mode="bilinear")
