"""HostBatch: one step's pixels as the workers hand them over, 8 bits a value where the set allows, and the way to the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from rstrain.data import ring
from rstrain.data.config import IMAGENET_MEAN, IMAGENET_STD
from rstrain.data.photometric import apply_device
from rstrain.data.reading import reading_of, statistics_of
from shards.dataset import DatasetInfo
from shards.errors import ConfigError
from shards.reading import Reading


@dataclass
class HostBatch:
    """The views of one rank in one step: V views, B samples, C bands, side S."""

    step: int
    pixels: Tensor
    """Levels, uint8 or float32 [V, B, C, S, S]; C varies fastest in memory (channels last)."""
    rows: Tensor
    """int64 [B]: rows of the index that are the queries."""
    partners: Tensor
    """int64 [V, B]: row of each view; the first are `rows`."""
    epoch: Tensor
    """int64 [B]: a batch may straddle two epochs."""
    zoom: Tensor
    """float32 [V, B]: pixels of the stored image that one pixel of the view spans; times its GSD, the view's GSD."""
    color: Tensor | None = None
    """float32 [V, B, 20 or 5] for `apply_device`; None where the worker has applied colour and blur already."""

    second: HostBatch | None = None
    """The same step of the second data set."""

    def pin_memory(self) -> Self:
        """Page-locked pixels, so that the copy to a GPU overlaps with work; DataLoader calls this."""
        if self.second is not None:
            self.second.pin_memory()
        self.pixels = self.pixels.permute(0, 1, 3, 4, 2).pin_memory().permute(0, 1, 4, 2, 3)
        return self

    def views(
        self, mean: Sequence[float], std: Sequence[float], device: torch.device | str = "cpu"
    ) -> tuple[Tensor, ...]:
        """Normalised float32 views on the device, V times [B, C, S, S], channels last in memory."""
        pixels: Iterable[Tensor] = self.pixels.to(device, non_blocking=True)
        if self.color is not None:
            color = self.color.to(device, non_blocking=True)
            pixels = (apply_device(p, c) for p, c in zip(pixels, color, strict=True))
        last = torch.channels_last
        return tuple(normalise(p, mean, std).contiguous(memory_format=last) for p in pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        """Only the pixels travel through shared memory: what is small is copied faster than it is mapped."""
        small = (self.rows, self.partners, self.epoch, self.zoom, self.color)
        arrays = (None if t is None else t.numpy() for t in small)
        return _rebuild, (self.second, self.step, self.pixels, *arrays)


def _rebuild(second: HostBatch | None, step: int, pixels: Tensor, *small: Any) -> HostBatch:
    rows, partners, epoch, zoom, color = (None if a is None else torch.from_numpy(a) for a in small)
    assert rows is not None and partners is not None and epoch is not None and zoom is not None
    return HostBatch(step, pixels, rows, partners, epoch, zoom, color, second)


def empty_pixels(*shape: int, dtype: np.dtype[Any]) -> Tensor:
    """Uninitialised levels; see `ring.empty`."""
    return ring.empty(shape, torch.uint8 if dtype == np.uint8 else torch.float32)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """`(pixels - mean) / std` per band as float32, same layout; pixels [.., C, S, S] and both numbers in 0 … 255."""
    scale = 1 / torch.tensor(std, dtype=torch.float32)
    offset = -torch.tensor(mean, dtype=torch.float32) * scale
    scale, offset = (t.to(pixels.device, non_blocking=True) for t in (scale, offset))
    out = pixels.to(torch.float32, copy=True)
    last = out.movedim(-3, -1)
    if (
        last.is_contiguous()
    ):  # whole rows at once: a broadcast over an innermost axis of three is twice as slow
        rows, side = last.flatten(-2), pixels.shape[-1]
        torch.addcmul(offset.repeat(side), rows, scale.repeat(side), out=rows)
    else:
        torch.addcmul(offset[:, None, None], out, scale[:, None, None], out=out)
    return out


def mean_std(
    info: DatasetInfo,
    which: Literal["auto", "imagenet", "data"] = "auto",
    reading: Reading | None = None,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each band that is read (default: all), in levels.

    Raises:
        ConfigError: ImageNet's for other than three bands, or the set's own where it has none.
    """
    reading = reading or reading_of(info)
    rgb = len(reading.bands) == 3
    if which == "imagenet" or (which == "auto" and rgb and not reading.low):
        if not rgb:
            raise ConfigError(
                f"statistics=imagenet is for RGB, but {len(reading.bands)} bands of {info.name} are read: use statistics=data"
            )
        return IMAGENET_MEAN, IMAGENET_STD
    own = statistics_of(info, reading.bands)
    mean, std = tuple(s.mean for s in own), tuple(s.std for s in own)
    if reading.low:
        spans = [high - low for low, high in zip(reading.low, reading.high, strict=True)]
        mean = tuple((m - low) / span * 255 for m, low, span in zip(mean, reading.low, spans, strict=True))
        std = tuple(s / span * 255 for s, span in zip(std, spans, strict=True))
    return mean, tuple(max(s, 1e-6) for s in std)
