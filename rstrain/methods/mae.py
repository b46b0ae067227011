"""MAE, and what masked autoencoders have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain.losses.gauges import embedding_std
from rstrain.losses.masked import masked_patch_loss, normalised_patches
from rstrain.losses.precision import full_precision, no_autocast
from rstrain.methods.base import Batch, Method, RunFacts, StepOutput
from rstrain.methods.mae_config import MAEConfig
from rstrain.models.backbone import Backbone
from rstrain.models.gsd import gsd_positions
from rstrain.models.init import seeded
from rstrain.models.mae_decoder import MAEDecoder, Trunk, patchify
from rstrain.models.vit import encode_seen, init_as_mae, mask_noise, random_masking
from shards import random
from shards.errors import ConfigError

_WEIGHTS = random.stream("mae/weights")

Noise = Callable[[Batch, int], Tensor]
"""(batch, patches) -> float32 [B, patches]: the patches of least noise are seen."""


class MaskedAutoencoder(Method):
    """A ViT that sees some patches, and a decoder that predicts the others.

    The weights of the backbone are drawn anew, as the authors of MAE draw them.

    Args:
        backbone: becomes the encoder.
        facts: the seed of weights and masks.
        decoder: makes the decoder.
        noise: what masks are made of; by default numbers keyed by (seed, step, row).
    """

    def __init__(
        self, backbone: Backbone, facts: RunFacts, decoder: Callable[[], Trunk], noise: Noise | None
    ) -> None:
        super().__init__()
        self.facts = facts
        self.backbone = backbone
        self.noise = noise or self._noise
        with seeded(int(random.address(_WEIGHTS, facts.seed)) >> 1):
            init_as_mae(backbone)
            self.decoder = decoder()
            init_as_mae(self.decoder)

    @property
    def encoder(self) -> nn.Module:
        """The ViT; its feature is the class token after the norm, of all patches."""
        return self.backbone

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the blocks, which is where the work is; how many patches are seen is the same in every step."""
        net = self.backbone.net
        assert isinstance(net, VisionTransformer)
        for block in (*net.blocks, *self.decoder.decoder_blocks):
            block.compile(*args, **kwargs)

    def _noise(self, batch: Batch, patches: int) -> Tensor:
        device = batch.views[0].device
        return mask_noise(self.facts.seed, batch.step, batch.rows, patches).to(device, non_blocking=True)


class MAE(MaskedAutoencoder):
    """Masked autoencoder (He et al. 2022, arXiv 2111.06377) round a ViT of timm.

    As in the authors' code, positions are sine-cosine tables that are not learnt. They stand in the backbone's
    `pos_embed`, so the weights are those of a plain ViT of timm.
    """

    def __init__(
        self, config: MAEConfig, backbone: Backbone, facts: RunFacts, noise: Noise | None = None
    ) -> None:
        net = _plain_vit(backbone)
        patch = net.patch_embed.patch_size[0]

        def decoder() -> MAEDecoder:
            return MAEDecoder(
                net.embed_dim,
                patches=net.patch_embed.num_patches,
                pixels=patch * patch * backbone.bands,
                dim=config.decoder_dim,
                depth=config.decoder_depth,
                heads=config.decoder_heads,
                save_memory=config.checkpoint_blocks,
            )

        super().__init__(backbone, facts, decoder, noise)
        self.config = config
        self.patch = int(patch)
        with torch.no_grad():
            net.pos_embed.copy_(gsd_positions(1.0, net.patch_embed.grid_size[0], net.embed_dim))
        net.pos_embed.requires_grad_(False)

    def forward(self, batch: Batch) -> StepOutput:
        """Error of the hidden patches.

        Shapes: view [B, C, H, H] -> tokens [B, 1 + L, F] -> seen [B, 1 + K, F] -> patches [B, L, P].
        """
        images = one_view(batch, self.config.kind)
        net: Any = self.backbone.net
        tokens = net._pos_embed(net.patch_embed(images))
        masking = random_masking(self.noise(batch, tokens.shape[1] - 1), self.config.mask_ratio)
        latent = encode_seen(net, tokens, masking.kept, save_memory=self.config.checkpoint_blocks)
        prediction = full_precision(self.decoder(latent, masking.restore))
        with no_autocast(prediction):
            target = patchify(full_precision(images), self.patch)
            if self.config.norm_pix:
                target = normalised_patches(target)
            loss = masked_patch_loss(prediction, target, masking.mask)
            logs = {"embedding_std": spread(latent)}
        return StepOutput(loss, logs)


def one_view(batch: Batch, kind: str) -> Tensor:
    """The view of a batch that has one.

    Raises:
        ConfigError: it has more.
    """
    if len(batch.views) != 1:
        raise ConfigError(f"{kind} looks at one view of a sample; the batch has {len(batch.views)}")
    return batch.views[0]


def spread(latent: Tensor) -> Tensor:
    """`embedding_std` of the class tokens of [B, tokens, F]."""
    with torch.no_grad():
        return embedding_std(F.normalize(full_precision(latent[:, 0]), dim=1))


def _plain_vit(backbone: Backbone) -> Any:
    net: Any = backbone.net
    if not isinstance(net, VisionTransformer) or net.pos_embed is None:
        raise ConfigError(
            f"mae hides patches of a ViT, and {backbone.arch} is none that it knows: use --arch timm:vit_base_patch16_224 "
            "or another plain ViT of timm"
        )
    size, patch = net.patch_embed.img_size[0], net.patch_embed.patch_size[0]
    plain = net.global_pool == "token" and net.num_prefix_tokens == 1 and not net.no_embed_class
    if not plain or not isinstance(net.norm_pre, nn.Identity):
        raise ConfigError(
            f"{backbone.arch} is a ViT with other tokens, pooling or norms than mae's: use one with a class token only, "
            "such as timm:vit_base_patch16_224"
        )
    if size % patch:
        raise ConfigError(
            f"size={size} is not made of whole patches of {patch} px: use --size {max(1, size // patch) * patch}"
        )
    return net
