"""Reconstruction losses of masked autoencoders: only what was hidden counts."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def normalised_patches(patches: Tensor) -> Tensor:
    """Each patch [.., P] less its mean, over its standard deviation (He et al. 2022, section 4.1)."""
    mean = patches.mean(dim=-1, keepdim=True)
    variance = patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def normalised_cells(images: Tensor, side: int) -> Tensor:
    """The same for side x side cells of images [B, C, H, H], all channels of a cell together."""
    batch, channels, height, _ = images.shape
    cells = images.reshape(batch, channels, side, height // side, side, height // side)
    mean = cells.mean(dim=(1, 3, 5), keepdim=True)
    variance = cells.var(dim=(1, 3, 5), keepdim=True)
    return ((cells - mean) / (variance + 1e-6).sqrt()).reshape(images.shape)


def masked_patch_loss(prediction: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error over the removed patches: [B, L, P] twice, mask [B, L] with 1 = removed."""
    error = (prediction - target).square().mean(dim=-1)
    return (error * mask).sum() / mask.sum()


def masked_band_loss(
    prediction: Tensor, target: Tensor, mask: Tensor, *, l1: bool = False, weight: float = 1.0
) -> Tensor:
    """Scale-MAE's loss of one band: errors over removed *pixels*, summed over channels (so C times a mean).

    Args:
        prediction: [B, C, H, H].
        target: [B, C, H, H].
        mask: [B, L] of a square grid of patches, 1 = removed.
        l1: absolute instead of squared errors.
        weight: of the absolute errors; squared ones have none.
    """
    side = round(mask.shape[1] ** 0.5)
    pixels = F.interpolate(mask.reshape(-1, 1, side, side), size=prediction.shape[-2:], mode="nearest")
    error = target - prediction
    cost = weight * error.abs() if l1 else error.square()
    return (pixels * cost).sum() / (pixels.sum() + 1e-9)
