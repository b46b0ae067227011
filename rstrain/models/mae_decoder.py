"""Decoders of masked autoencoders: from the seen patches back to all of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rstrain.models.gsd import gsd_positions
from rstrain.models.vit import run_blocks, transformer_block


class Trunk(nn.Module):
    """What the decoders of MAE and Scale-MAE share; the names are the authors'."""

    def __init__(self, features: int, *, dim: int, depth: int, heads: int, save_memory: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.save_memory = save_memory
        self.decoder_embed = nn.Linear(features, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.decoder_blocks = nn.ModuleList(transformer_block(dim, heads) for _ in range(depth))
        self.decoder_norm = nn.LayerNorm(dim, eps=1e-6)

    def unshuffled(self, latent: Tensor, restore: Tensor) -> Tensor:
        """Seen tokens [B, 1 + K, F] -> class token and all patches in their places, [B, 1 + L, dim]."""
        x = self.decoder_embed(latent)
        batch, patches = restore.shape
        blank = self.mask_token.expand(batch, patches + 1 - x.shape[1], -1)
        shuffled = torch.cat((x[:, 1:], blank), dim=1)
        places = restore[..., None].expand(-1, -1, self.dim)
        return torch.cat((x[:, :1], shuffled.gather(1, places)), dim=1)

    def decoded(self, tokens: Tensor) -> Tensor:
        """[B, tokens, dim] -> the same, after blocks and norm."""
        x: Tensor = self.decoder_norm(run_blocks(self.decoder_blocks, tokens, save_memory=self.save_memory))
        return x


class MAEDecoder(Trunk):
    """Predicts the pixels of every patch (He et al. 2022, section 3)."""

    decoder_pos_embed: Tensor

    def __init__(
        self,
        features: int,
        *,
        patches: int,
        pixels: int,
        dim: int,
        depth: int,
        heads: int,
        save_memory: bool = False,
    ) -> None:
        super().__init__(features, dim=dim, depth=depth, heads=heads, save_memory=save_memory)
        self.register_buffer("decoder_pos_embed", gsd_positions(1.0, round(patches**0.5), dim))
        self.decoder_pred = nn.Linear(dim, pixels)

    def forward(self, latent: Tensor, restore: Tensor) -> Tensor:
        """[B, 1 + K, F] -> [B, L, pixels of a patch]."""
        x = self.unshuffled(latent, restore)
        x = self.decoded(x + self.decoder_pos_embed.to(x.dtype))
        out: Tensor = self.decoder_pred(x[:, 1:])
        return out


def patchify(images: Tensor, patch: int) -> Tensor:
    """[B, C, g*p, g*p] -> [B, g*g, p*p*C]; inside a patch by row, column, channel."""
    batch, channels, height, width = images.shape
    x = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)
