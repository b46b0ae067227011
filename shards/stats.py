"""Exact statistics of integer pixels: a histogram a band, so that parts add up to the same numbers in any order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shards.config import Config

QUANTILES = (0.01, 0.02, 0.25, 0.5, 0.75, 0.98, 0.99)


class BandStats(Config):
    """Facts of one band over every pixel of a split, in the units of the stored integers."""

    name: str
    pixels: int
    mean: float
    std: float
    minimum: int
    maximum: int
    quantiles: dict[str, int]


class Histogram:
    """Counts of each value of each band; uint8 or uint16 pixels."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.counts = counts
        """int64 [bands, 256 or 65536]."""

    @classmethod
    def of(cls, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> Self:
        """Count an image [H, W, C] or [H, W]."""
        flat = pixels.reshape(-1, pixels.shape[2] if pixels.ndim == 3 else 1)
        bins = 1 << (8 * pixels.dtype.itemsize)
        return cls(np.stack([np.bincount(band, minlength=bins) for band in flat.T]).astype(np.int64))

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self | None:
        """Sum of parts; None of none.

        Parts with other bands or another depth do not add up: the caller keeps one histogram for each kind of member.
        """
        counts: NDArray[np.int64] | None = None
        for part in parts:
            counts = part.counts.copy() if counts is None else counts + part.counts
        return None if counts is None else cls(counts)

    def stats(self, names: list[str]) -> list[BandStats]:
        """The moments and quantiles, a band each."""
        values = np.arange(self.counts.shape[1], dtype=np.float64)
        out = []
        for name, count in zip(names, self.counts, strict=True):
            n = int(count.sum())
            mean = float((count * values).sum() / n)
            variance = float((count * (values - mean) ** 2).sum() / n)
            seen = np.flatnonzero(count)
            below = np.cumsum(count)
            quantiles = {f"{q:g}": int(np.searchsorted(below, q * n)) for q in QUANTILES}
            out.append(
                BandStats(
                    name=name,
                    pixels=n,
                    mean=mean,
                    std=variance**0.5,
                    minimum=int(seen[0]),
                    maximum=int(seen[-1]),
                    quantiles=quantiles,
                )
            )
        return out
