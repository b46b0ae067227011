"""Colour and blur of a view: by the worker (OpenCV), by the device (torch, whole batch), or exactly as torchvision.

Worker and device apply the numbers of `Params.folded`, clamp and round to whole levels at the same two places
(after the colour matrix, after the blur), and so agree up to the rounding of OpenCV's fixed point.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rstrain.data.augment import Params

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[Any]

_SOLARIZED = np.array([v if v < 128 else 255 - v for v in range(256)], np.uint8)
_NEUTRAL = np.concatenate([np.eye(3).ravel(), np.zeros(9)]).astype(np.float32)


def blur_radius(sigma: float) -> int:
    """Taps on each side of the centre: three standard deviations."""
    return max(1, math.ceil(3 * sigma))


def apply_worker(pixels: Pixels, folded: NDArray[np.float32]) -> Pixels:
    """Colour and blur of one view [S, S, C] to the same; bands other than RGB get gain, offset and grey only.

    uint8 levels stay whole and within 0 … 255; float32 levels are neither rounded nor cut off.
    """
    import cv2

    sigma, solarize = float(folded[-2]), folded[-1] > 0
    if pixels.shape[2] == 3:
        if not np.array_equal(folded[:18], _NEUTRAL):
            matrix, on_mean = folded[:18].reshape(2, 3, 3)
            constant = on_mean @ np.array(cv2.mean(pixels)[:3], np.float32)
            pixels = cv2.transform(pixels, np.column_stack([matrix, constant]))
    else:
        pixels = _gain(pixels, folded)
    if sigma > 0:
        kernel = _kernel(round(sigma, 3))
        shape = pixels.shape
        pixels = cv2.sepFilter2D(pixels, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101).reshape(shape)
    if not solarize:
        return pixels
    return _SOLARIZED[pixels] if pixels.dtype == np.uint8 else np.where(pixels < 128, pixels, 255 - pixels)


def _gain(pixels: Pixels, folded: NDArray[np.float32]) -> Pixels:
    """Gain, offset (times the mean of all bands) and, where drawn, every band the mean of all."""
    gain, offset, gray = folded[:3]
    if pixels.dtype == np.uint8 and not gray:  # a table of 256 levels
        levels = np.arange(256) * gain + offset * pixels.mean()
        return np.asarray(np.rint(levels).clip(0, 255).astype(np.uint8)[pixels])
    base = pixels.mean(axis=2, keepdims=True, dtype=np.float32) if gray else pixels
    out = np.asarray(base * gain + offset * pixels.mean(dtype=np.float32), np.float32)
    if pixels.dtype == np.uint8:
        out = np.rint(out).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(out, pixels.shape))


@lru_cache(maxsize=4096)
def _kernel(sigma: float) -> NDArray[np.float32]:
    x = np.arange(-blur_radius(sigma), blur_radius(sigma) + 1)
    weights = np.exp(-(x**2) / (2 * sigma**2))
    out: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return out


def apply_device(pixels: Tensor, folded: Tensor) -> Tensor:
    """The same for a batch in a few kernels: [N, C, S, S] and [N, 20 or 5] to float32, of uint8 whole levels 0 … 255."""
    import torch

    def whole(levels: Tensor) -> Tensor:
        return levels.round_().clamp_(0, 255) if pixels.dtype == torch.uint8 else levels

    folded = folded.float()
    n, bands, side, _ = pixels.shape
    x = pixels.to(torch.float32, memory_format=torch.contiguous_format).reshape(n, bands, side * side)
    means = x.mean(dim=2, keepdim=True)
    if bands == 3:
        matrix, on_mean = folded[:, :18].reshape(n, 2, 3, 3).unbind(1)
        x = torch.baddbmm(on_mean @ means, matrix, x)
    else:
        gain, offset, gray = folded[:, :3, None, None].unbind(1)
        x = torch.where(gray > 0, x.mean(dim=1, keepdim=True), x)
        x = x * gain + offset * means.mean(dim=1, keepdim=True)
    x = whole(x).reshape(n, bands, side, side)
    taps = _blur_matrices(folded[:, -2, None, None], side)
    x = (x.reshape(n, bands * side, side) @ taps.transpose(1, 2)).reshape(n, bands, side, side)
    x = whole(taps[:, None] @ x)
    return torch.where((folded[:, -1, None, None, None] > 0) & (x >= 128), 255 - x, x)


def _blur_matrices(sigma: Tensor, side: int) -> Tensor:
    """A blur along one axis as a matrix [N, S, S], mirrored at the edges without repeating them; sigma [N, 1, 1].

    A product with a banded matrix needs no padding, no kernel size and no branch, and is the device's best operation.
    """
    import torch

    at = torch.arange(side, device=sigma.device, dtype=torch.float32)
    i, j = at[:, None], at[None, :]
    radius = (3 * sigma).ceil().clamp(min=1)

    def weights(distance: Tensor) -> Tensor:
        return torch.exp(-(distance**2) / (2 * sigma.clamp(min=1e-3) ** 2)) * (distance.abs() <= radius)

    last = side - 1
    taps = weights(i - j) + weights(i + j) * (j > 0) + weights(2 * last - i - j) * (j < last)
    return taps / taps.sum(dim=2, keepdim=True)


def apply_exact(image: Any, view: Params) -> Any:
    """Colour, grey and blur of a PIL image in the drawn order by torchvision's own functions and PIL's blur.

    Every operation clamps, hue turns in HSV, and the blur is PIL's, as in MoCo's scripts.
    """
    from PIL import ImageFilter, ImageOps
    from torchvision.transforms import functional as F

    steps = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    factors = (view.brightness, view.contrast, view.saturation, view.hue)
    neutral = (1.0, 1.0, 1.0, 0.0)
    if view.gray and view.gray_first:
        image = F.to_grayscale(image, num_output_channels=3)
    for operation in view.operations.tolist():
        if factors[operation] != neutral[operation]:
            image = steps[operation](image, float(factors[operation]))
    if view.gray and not view.gray_first:
        image = F.to_grayscale(image, num_output_channels=3)
    if view.sigma > 0:
        image = image.filter(ImageFilter.GaussianBlur(radius=float(view.sigma)))
    if view.solarize:
        image = ImageOps.solarize(image, 128)
    return image
