"""Learning rates of published runs that no new run should have; kept to replay and to explain them. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

CityScript = Literal["sn7", "sn7_temporal", "fmow", "imagenet", "no_patch"]


@dataclass(frozen=True)
class _Script:
    peak: float
    """Highest rate, over base rate * batch."""
    warmup_epochs: int = 10
    late: bool = False
    """The warm-up value is computed and then overwritten."""


_SCRIPTS: dict[CityScript, _Script] = {
    "sn7": _Script(8 / 256, late=True),
    "sn7_temporal": _Script(8 / 256, late=True),
    "fmow": _Script(8 / 1024, late=True),
    "imagenet": _Script(1 / 256),
    "no_patch": _Script(1 / 256, warmup_epochs=1),
}


def city_lr(
    script: CityScript, step: int, *, base_lr: float, batch: int, epochs: int, steps_per_epoch: int
) -> float:
    """Rate of a VICReg script of the SpaceNet 7 study; upstream's own is OptimConfig's `cosine`.

    `imagenet` and `no_patch` warm up by (step + 1) / warm-up, so that the first step already moves. In `sn7`,
    `sn7_temporal` and `fmow` the warm-up has no effect: the cosine is taken at step - warm-up from the first step on, so
    it rises to the peak at the end of the warm-up, where the rate is the bare `base_lr` for one step.

    Raises:
        ZeroDivisionError: as the originals, for a run as long as its warm-up in the last three.
    """
    facts = _SCRIPTS[script]
    peak = base_lr * batch * facts.peak
    warmup = facts.warmup_epochs * steps_per_epoch
    if facts.late and step == warmup:
        return base_lr
    if not facts.late and step < warmup:
        return peak * (step + 1) / warmup
    share = 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (epochs * steps_per_epoch - warmup)))
    return peak * share + 0.001 * peak * (1.0 - share)
