"""Learning rate as a pure function of the position in training, counted in epochs (a float inside an epoch).

Nothing carries a state, so a resumed run cannot disagree with an undisturbed one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def cosine(lr: float, at: float, total: float, *, warmup: float = 0.0, min_lr: float = 0.0) -> float:
    """Linear from 0 over `warmup`, then half a cosine from `lr` to `min_lr` at `total`; past `total` it stays there.

    `at`, `total` and `warmup` share a unit (epochs or steps). With whole epochs and no warm-up this is MoCo's `--cos`
    (He et al. 2020); with fractions of an epoch and a warm-up it is that of MAE (He et al. 2022), of Scale-MAE, and
    with `min_lr` at a thousandth of `lr` that of VICReg (Bardes et al. 2022).
    """
    if at < warmup:
        return lr * at / warmup
    if at >= total:
        return min_lr
    return min_lr + (lr - min_lr) * (0.5 * (1.0 + math.cos(math.pi * (at - warmup) / (total - warmup))))


def cosine_restarts(
    lr: float, at: float, periods: Sequence[int], *, weights: Sequence[float] = (1.0,), min_lr: float = 0.0
) -> float:
    """Half a cosine to `min_lr` in each of `periods`, from `min_lr + weight * (lr - min_lr)` (GeRSP; mmcv's CosineRestart).

    The last period and the last weight repeat for as long as training goes on (mmcv stops with an error).
    """
    number = 0
    while at >= (length := periods[min(number, len(periods) - 1)]):
        at -= length
        number += 1
    weight = weights[min(number, len(weights) - 1)]
    return min_lr + weight * (lr - min_lr) * (0.5 * (1.0 + math.cos(math.pi * at / length)))


def multistep(lr: float, epoch: float, milestones: Sequence[float], *, gamma: float = 0.1) -> float:
    """`lr` times `gamma` for every milestone (epochs) that has been reached."""
    reached: int = sum(epoch >= milestone for milestone in milestones)
    return float(lr * gamma**reached)


def exponential(lr: float, epoch: float, *, gamma: float) -> float:
    """`lr` times `gamma` for every whole epoch done."""
    return float(lr * gamma ** math.floor(epoch))


def polynomial(lr: float, at: float, total: float, *, power: float = 0.9, min_lr: float = 0.0) -> float:
    """From `lr` to `min_lr` at `total` as (1 - at / total) ** power; past `total` it stays there (mmsegmentation's `poly`)."""
    return float((lr - min_lr) * max(0.0, 1.0 - at / total) ** power + min_lr)


def constant(lr: float, at: float, *, warmup: float = 0.0) -> float:
    """`lr`, after a linear rise from 0 over `warmup`."""
    return lr * at / warmup if at < warmup else lr
