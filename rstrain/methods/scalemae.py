"""Scale-MAE: a masked autoencoder that knows how much ground a pixel spans."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rstrain.losses.masked import masked_band_loss, normalised_cells
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.methods.base import Batch, RunFacts, StepOutput
from rstrain.methods.mae import MaskedAutoencoder, Noise, one_view, spread
from rstrain.methods.mae_config import ScaleMAEConfig
from rstrain.models.backbone import Backbone
from rstrain.models.laplacian import HIGH_PX, LOW_PX, BandDecoder, band_targets
from rstrain.models.vit import GsdViT, Masking, encode_seen, random_masking
from shards import random
from shards.errors import ConfigError

_SOURCE_SIZE = random.stream("scalemae/source-size")
SHRINK = 2
"""How much larger what is predicted is than what the encoder sees: the branches end at 32 px for a patch of 16."""


@dataclass(frozen=True)
class Reconstruction:
    """What one pass predicts."""

    latent: Tensor
    """[B, 1 + K, F], class token and seen patches after the norm."""
    masking: Masking
    high: Tensor
    """[B, C, 32g, 32g], the fine band."""
    low: Tensor
    """[B, C, 16g, 16g], the coarse band."""


class ScaleMAE(MaskedAutoencoder):
    """Scale-aware masked autoencoder (Reed et al. 2023, arXiv 2212.14532).

    Differences from the authors' code: where `source_sizes` make the input smaller, the target is made from the view
    and not from the shrunken input, which has no fine detail left (spec 1.7); sizes and masks are drawn from
    addresses, so all ranks have the same size in a step; the crop is resized by the reader (8 bits, linear or area)
    instead of by a bicubic with aligned corners, for which there is `crop_pair`.
    """

    def __init__(
        self, config: ScaleMAEConfig, backbone: Backbone, facts: RunFacts, noise: Noise | None = None
    ) -> None:
        net = backbone.net
        if not isinstance(net, GsdViT):
            raise ConfigError(
                f"scalemae computes positions from the resolution, and {backbone.arch} has its own: use "
                "--arch gsd:vit_base_patch16_224 (tiny, small, base, large)"
            )
        patch = net.patch_embed.patch_size[0]
        if patch != LOW_PX:
            raise ConfigError(f"{backbone.arch} has patches of {patch} px; scalemae's branches need {LOW_PX}")

        def decoder() -> BandDecoder:
            return BandDecoder(
                net.embed_dim,
                patches=net.patch_embed.num_patches,
                bands=backbone.bands,
                dim=config.decoder_dim,
                depth=config.decoder_depth,
                heads=config.decoder_heads,
                hidden=config.head_dim,
                layers=config.head_layers,
                shared_head=config.shared_head,
                progressive=config.progressive,
                save_memory=config.checkpoint_blocks,
            )

        super().__init__(backbone, facts, decoder, noise)
        self.config = config

    def forward(self, batch: Batch) -> StepOutput:
        """Errors of both bands of the hidden patches.

        Shapes: view [B, C, T, T] -> input [B, C, S, S] -> fine [B, C, 2S, 2S] and coarse [B, C, S, S].
        """
        images, target, res = self.pair(batch)
        patches = (images.shape[-1] // LOW_PX) ** 2
        out = self.reconstruct(images, res, self.noise(batch, patches))
        high, low = self.band_losses(out, target)
        logs = {"loss_high": high.detach(), "loss_low": low.detach(), "embedding_std": spread(out.latent)}
        return StepOutput(high + low, logs)

    @torch.no_grad()
    def pair(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Input [B, C, S, S], target [B, C, 2S, 2S] and the input's resolution [B].

        Raises:
            ConfigError: the view is no square of whole patches at half its size, or the GSD is missing.
        """
        target = one_view(batch, self.config.kind)
        height, width = target.shape[-2:]
        if height != width or height % HIGH_PX:
            raise ConfigError(
                f"size={height}: scalemae predicts views whose side is a multiple of {HIGH_PX} px, twice the encoder's input "
                f"of whole patches of {LOW_PX} px: use --size {max(1, height // HIGH_PX) * HIGH_PX}"
            )
        side = height // SHRINK
        with no_autocast(target):
            images = source_of(target, side)
            return at_source_size(
                images, target, self._view_res(batch) * SHRINK, self._source_size(batch.step, side)
            )

    def reconstruct(self, images: Tensor, res: Tensor, noise: Tensor) -> Reconstruction:
        """Hide patches of [B, C, S, S] and predict both bands; `res` [B] and `noise` [B, patches]."""
        net = self.backbone.net
        assert isinstance(net, GsdViT)
        if self.config.absolute_scale:
            res = torch.ones_like(res)
        masking = random_masking(noise, self.config.mask_ratio)
        save = self.config.checkpoint_blocks
        latent = encode_seen(net, net.tokens(images, res), masking.kept, save_memory=save)
        high, low = self.decoder(latent, masking.restore, res)
        return Reconstruction(latent, masking, high, low)

    def band_losses(self, out: Reconstruction, target: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the fine and of the coarse band; target [B, C, 32g, 32g]."""
        config, mask = self.config, out.masking.mask
        high, low = full_precision(out.high), full_precision(out.low)
        with no_autocast(high):
            with torch.no_grad():
                side = low.shape[-1] // LOW_PX
                fine, coarse = band_targets(
                    full_precision(target), side, config.band_sides, paper=config.preset == "paper"
                )
                if config.norm_pix:
                    fine, coarse = normalised_cells(fine, side), normalised_cells(coarse, side)
            return (
                masked_band_loss(high, fine, mask, l1=config.l1, weight=config.l1_weight),
                masked_band_loss(low, coarse, mask),
            )

    def _view_res(self, batch: Batch) -> Tensor:
        """Resolution of each view, [B]."""
        size = batch.views[0].shape[-1]
        if self.config.gsd == "true":
            if batch.gsd is None:
                raise ConfigError(
                    "scalemae was told to use the true GSD and the batch has none: use --gsd simulated"
                )
            return batch.gsd[0]
        assert batch.zoom is not None
        short = self.config.preset == "repo"
        return simulated_res(batch.zoom[0] * size, size, self.config.base_resolution, short=short)

    def _source_size(self, step: int, side: int) -> int:
        sizes = self.config.source_sizes
        if not sizes:
            return side
        if max(sizes) > side:
            raise ConfigError(
                f"source_sizes: {max(sizes)} is more than the {side} px of the encoder's input, half of size={side * SHRINK}"
            )
        return sizes[int(random.choice(len(sizes), _SOURCE_SIZE, self.facts.seed, step))]


def source_of(target: Tensor, side: int) -> Tensor:
    """The encoder's input: [B, C, T, T] -> [B, C, side, side], bilinear with aligned corners, no antialias."""
    return F.interpolate(target, size=(side, side), mode="bilinear", align_corners=True)


def simulated_res(width: Tensor, size: int, base: float, *, short: bool) -> Tensor:
    """Resolution of views of `size` px from crops `width` px wide [B], as if a pixel of every image were `base`.

    `short`: the authors' code measures a crop between the centres of its corners, one pixel less.
    """
    return (width - 1 if short else width) / size * base


def at_source_size(
    images: Tensor, target: Tensor, res: Tensor, size: int, *, from_input: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Input, target and resolution when the encoder shall see `size` px; larger sizes change nothing.

    `from_input`: make the target from the shrunken input as the authors' code does, without any fine detail.
    """
    side = images.shape[-1]
    if size >= side:
        return images, target, res
    larger = target.shape[-1] * size // side
    images = F.interpolate(images, size=(size, size), mode="area")
    target = F.interpolate(images if from_input else target, size=(larger, larger), mode="area")
    return images, target, res * (size / side)


def crop_pair(images: Tensor, boxes: Tensor, size: int, side: int) -> tuple[Tensor, Tensor]:
    """Target and input as the authors' augmentation makes them; training leaves the crop to the reader.

    Args:
        images: [B, C, H, W].
        boxes: int64 [B, 4], top, left, height, width.
        size: of the target, pixels; bicubic with aligned corners, no antialias.
        side: of the input, pixels.
    """
    crops = [
        F.interpolate(
            image[None, :, top : top + height, left : left + width],
            size=(size, size),
            mode="bicubic",
            align_corners=True,
        )
        for image, (top, left, height, width) in zip(images, boxes.tolist(), strict=True)
    ]
    target = torch.cat(crops)
    return target, source_of(target, side)
