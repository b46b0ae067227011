"""Vision transformers that are run in parts: positions from the GSD, masked patches, checkpointed blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rstrain.models.gsd import gsd_positions
from shards.errors import ConfigError
from shards.random import stream, uniform

_MASK = stream("masking")

SIZES = {
    "vit_tiny_patch16_224": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "vit_small_patch16_224": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "vit_base_patch16_224": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "vit_large_patch16_224": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
"""Of `gsd:NAME`; the names are timm's, though these models take any size that their patches divide."""


class GsdViT(VisionTransformer):  # type: ignore[misc]  # timm has no types
    """timm's ViT whose positions are computed from the resolution of each image (Reed et al. 2023, Scale-MAE).

    It has no table of positions, so its tensors fit any square image of whole patches.
    """

    def __init__(self, **options: Any) -> None:
        embed = partial(PatchEmbed, strict_img_size=False)
        super().__init__(pos_embed="none", embed_layer=embed, **options)

    def forward(self, images: Tensor, res: Tensor | float = 1.0) -> Tensor:
        """[B, C, H, H] and resolutions [B] -> [B, F]: the class token after the norm, or logits where there is a head."""
        out: Tensor = self.forward_head(self.forward_features(images, res))
        return out

    def forward_features(self, images: Tensor, res: Tensor | float = 1.0) -> Tensor:
        """[B, C, H, H] -> [B, 1 + patches, F] after the norm."""
        x: Tensor = self.norm(
            run_blocks(self.blocks, self.tokens(images, res), save_memory=self.grad_checkpointing)
        )
        return x

    def maps(self, images: Tensor, res: Tensor | float, taken: Sequence[int]) -> list[Tensor]:
        """Patch tokens after some of the blocks, in the order of the blocks, [B, F, H / patch, H / patch] each."""
        x, out = self.tokens(images, res), []
        side = images.shape[-1] // self.patch_embed.patch_size[0]
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in taken:
                out.append(x[:, 1:].transpose(1, 2).unflatten(2, (side, side)).contiguous())
        return out

    def tokens(self, images: Tensor, res: Tensor | float = 1.0) -> Tensor:
        """Class token and patches with their positions, [B, 1 + patches, F].

        Raises:
            ConfigError: the images are not square, or not made of whole patches.
        """
        height, width = images.shape[-2:]
        patch = self.patch_embed.patch_size[0]
        if height != width or height % patch:
            raise ConfigError(
                f"images of {height} x {width} px: positions from the GSD need a square of whole patches of {patch} px"
            )
        return self._pos_embed(self.patch_embed(images), res)

    def _pos_embed(self, x: Tensor, res: Tensor | float = 1.0) -> Tensor:
        batch, patches, dim = x.shape
        positions = gsd_positions(res, round(patches**0.5), dim, x.device)
        x = torch.cat((self.cls_token.expand(batch, -1, -1), x), dim=1)
        return x + positions.to(x.dtype)


def gsd_vit(name: str, bands: int, size_px: int | None = None) -> GsdViT:
    """An encoder of Scale-MAE by one of the names in `SIZES`, without a classifier."""
    return GsdViT(img_size=size_px or 224, in_chans=bands, num_classes=0, **SIZES[name])


def transformer_block(dim: int, heads: int) -> nn.Module:
    """A block as the encoder has it, for decoders: [B, tokens, dim] -> the same."""
    block: nn.Module = Block(
        dim, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6)
    )
    return block


def run_blocks(blocks: Iterable[nn.Module], x: Tensor, *, save_memory: bool = False) -> Tensor:
    """Through the blocks in turn; `save_memory` computes their insides again on the way back instead of keeping them."""
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False) if save_memory and torch.is_grad_enabled() else block(x)
    return x


@dataclass(frozen=True)
class Masking:
    """Which patches the encoder sees."""

    kept: Tensor
    """int64 [B, K], patches that are seen, in the order in which they are."""
    restore: Tensor
    """int64 [B, L], where each patch stands among the seen and then the removed ones."""
    mask: Tensor
    """float32 [B, L], 1 where a patch is removed."""


def random_masking(noise: Tensor, ratio: float) -> Masking:
    """Keep the int(L * (1 - ratio)) patches of least noise [B, L]; He et al. 2022, section 3.

    Raises:
        ConfigError: nothing would be kept.
    """
    patches = noise.shape[1]
    keep = int(patches * (1 - ratio))
    if not 0 < keep < patches:
        raise ConfigError(
            f"mask_ratio={ratio:g} of {patches} patches leaves {keep} to see: use larger views (--size), smaller patches "
            "or another ratio"
        )
    shuffle = noise.argsort(dim=1, stable=True)
    restore = shuffle.argsort(dim=1)
    return Masking(shuffle[:, :keep], restore, (restore >= keep).float())


def mask_noise(seed: int, step: int, rows: Tensor, patches: int) -> Tensor:
    """float32 [B, patches] in [0, 1), a function of (seed, step, row): neither ranks nor micro-batches enter."""
    return torch.from_numpy(uniform(_MASK, seed, step, rows.cpu().numpy(), count=patches)).float()


def encode_seen(net: nn.Module, tokens: Tensor, kept: Tensor, *, save_memory: bool = False) -> Tensor:
    """Class token and kept patches through the blocks and the norm of a ViT: [B, 1 + L, F] -> [B, 1 + K, F]."""
    index = (kept + 1)[..., None].expand(-1, -1, tokens.shape[-1])
    x = torch.cat((tokens[:, :1], tokens.gather(1, index)), dim=1)
    blocks, norm = net.blocks, net.norm
    assert isinstance(blocks, nn.Sequential) and isinstance(norm, nn.Module)
    out: Tensor = norm(run_blocks(blocks, x, save_memory=save_memory))
    return out


def init_as_mae(net: nn.Module) -> None:
    """Initial weights as in the authors' code of MAE: Xavier in all linear layers and patches, N(0, 0.02) in tokens.

    Biases of convolutions, and convolutions other than the patches', stay as they are.
    """
    for name, parameter in net.named_parameters():
        if name.endswith(("cls_token", "mask_token")):
            nn.init.normal_(parameter, std=0.02)
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, PatchEmbed):
            nn.init.xavier_uniform_(module.proj.weight.detach().flatten(1))
