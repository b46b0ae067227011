"""Learning rate as a pure function of the position in training, counted in epochs (a float inside an epoch).

Nothing carries a state, so a resumed run cannot disagree with an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def cosine(lr: float, at: float, total: float, *, warmup: float = 0.0, min_lr: float = 0.0) -> float:
    """Linear from 0 over `warmup`, then half a cosine from `lr` to `min_lr` at `total`; past `total` it stays there.

    `at`, `total` and `warmup` share a unit (epochs or steps). With whole epochs and no warm-up this is MoCo's `--cos`
    (He et al. 2020); with fractions of an epoch and a warm-up it is MAE's (He et al. 2022).
    """
    if at < warmup:
        return lr * at / warmup
    if at >= total:
        return min_lr
    return min_lr + (lr - min_lr) * (0.5 * (1.0 + math.cos(math.pi * (at - warmup) / (total - warmup))))


def multistep(lr: float, epoch: float, milestones: Sequence[float], *, gamma: float = 0.1) -> float:
    """`lr` times `gamma` for every milestone (epochs) that has been reached."""
    reached: int = sum(epoch >= milestone for milestone in milestones)
    return float(lr * gamma**reached)


def exponential(lr: float, epoch: float, *, gamma: float) -> float:
    """`lr` times `gamma` for every whole epoch done."""
    return float(lr * gamma ** math.floor(epoch))


def constant(lr: float, at: float, *, warmup: float = 0.0) -> float:
    """`lr`, after a linear rise from 0 over `warmup`."""
    return lr * at / warmup if at < warmup else lr
