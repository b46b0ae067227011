"""A linear classifier on frozen features: all learning rates at once, one matrix product a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rstrain.evals.config import LinearConfig
from rstrain.optim import schedule
from shards.errors import ConfigError
from shards.random import generator, permute, stream

_INIT = stream("evals/linear/init")
_ORDER = stream("evals/linear/order")
_HOLDOUT = stream("evals/linear/holdout")

Features = Callable[[int], Tensor]
"""Epoch -> float32 [N, F]; the same tensor each time where nothing is augmented."""


@dataclass(frozen=True)
class Heads:
    """L classifiers that were learnt side by side."""

    weight: Tensor
    """[F, L, C]."""
    bias: Tensor
    """[L, C]."""
    shift: Tensor
    """[F], subtracted from the features."""
    scale: Tensor
    """[F], then multiplied."""

    def logits(self, features: Tensor) -> Tensor:
        """[M, F] -> [M, L, C]."""
        _, heads, classes = self.weight.shape
        x = (features - self.shift) * self.scale
        return (x @ self.weight.flatten(1)).view(len(x), heads, classes) + self.bias


def fit_heads(
    features: Features,
    label: Tensor,
    *,
    classes: int,
    lrs: tuple[float, ...],
    config: LinearConfig,
    seed: int,
) -> Heads:
    """SGD with momentum on the mean cross-entropy, a head for each rate; all start alike and see the same batches.

    Weights start at N(0, 0.01), biases at 0. The order of an epoch is a function of (seed, epoch). The gradient is
    written out, for the heads share every product with the features; it equals `torch.optim.SGD` on each head alone.

    Args:
        features: epoch -> [N, F].
        label: int64 [N].
        classes: C.
        lrs: one rate a head.
        config: epochs, batch, momentum, decay, schedule, standardisation.
        seed: of the first weights and the order.
    """
    first = features(0)
    n, width = first.shape
    heads, device = len(lrs), first.device
    shift, scale = _standard(first) if config.standardise else (first.new_zeros(width), first.new_ones(width))
    start = generator(_INIT, seed).normal(0.0, 0.01, (width, classes)).astype(np.float32)
    weight = torch.from_numpy(start).to(device).repeat(1, heads)
    bias = first.new_zeros(heads * classes)
    rate = first.new_tensor(lrs).repeat_interleave(classes)
    weight_speed, bias_speed = torch.zeros_like(weight), torch.zeros_like(bias)
    for epoch in range(config.epochs):
        x = first if epoch == 0 else features(epoch)
        order = torch.from_numpy(permute(np.arange(n), n, _ORDER, seed, epoch)).to(device)
        step = rate * _factor(config, epoch)
        for at in range(0, n, config.head_batch):
            rows = order[at : at + config.head_batch]
            part = x[rows].sub_(shift).mul_(scale)
            slope = torch.addmm(bias, part, weight).view(len(rows), heads, classes).softmax(dim=2)
            slope[torch.arange(len(rows), device=device), :, label[rows]] -= 1.0
            slope = slope.view(len(rows), heads * classes) / len(rows)
            weight_speed.mul_(config.momentum).addmm_(part.T, slope).add_(weight, alpha=config.weight_decay)
            bias_speed.mul_(config.momentum).add_(slope.sum(dim=0)).add_(bias, alpha=config.weight_decay)
            weight.addcmul_(weight_speed, step, value=-1.0)
            bias.addcmul_(bias_speed, step, value=-1.0)
    return Heads(weight.view(width, heads, classes), bias.view(heads, classes), shift, scale)


def choose_rate(
    features: Features,
    central: Tensor,
    label: Tensor,
    place: NDArray[np.int64],
    *,
    classes: int,
    config: LinearConfig,
    seed: int,
) -> tuple[float, dict[float, float]]:
    """The rate with the best top-1 on held-out training places (the smaller of equals), and top-1 percent of each.

    The test split has no part in it. `central` [N, F] are the features of the held-out views as a test would have them.

    Raises:
        ConfigError: fewer than two places, or every rate diverged.
    """
    names, number = np.unique(place, return_inverse=True)
    if len(names) < 2:
        raise ConfigError("one training place cannot be split to choose among several rates: give one --lrs")
    held_places = min(len(names) - 1, max(1, round(config.holdout * len(names))))
    held_view = permute(np.arange(len(names)), len(names), _HOLDOUT, seed)[number] < held_places
    held = torch.from_numpy(np.flatnonzero(held_view)).to(label.device)
    kept = torch.from_numpy(np.flatnonzero(~held_view)).to(label.device)
    heads = fit_heads(
        _taken(features, kept), label[kept], classes=classes, lrs=config.lrs, config=config, seed=seed
    )
    logits = heads.logits(central[held])
    right = (logits.argmax(dim=2) == label[held, None]).float().mean(dim=0) * 100.0
    finite = logits.isfinite().all(dim=2).all(dim=0)
    found = {
        lr: round(float(right[i]), 4) for i, lr in enumerate(config.lrs) if bool(finite[i])
    }  # a head that diverged is no candidate
    if not found:
        raise _diverged(config.lrs)
    return min(found, key=lambda lr: (-found[lr], lr)), found


def fit_linear(
    features: Features,
    central: Tensor,
    label: Tensor,
    place: NDArray[np.int64],
    *,
    classes: int,
    config: LinearConfig,
    seed: int,
) -> tuple[Heads, float, dict[float, float]]:
    """One head on all of train, its rate, and what each rate gave on held-out places (empty with a single rate).

    Raises:
        ConfigError: it diverged.
    """
    rate = config.lrs[0]
    found: dict[float, float] = {}
    if len(config.lrs) > 1:
        rate, found = choose_rate(features, central, label, place, classes=classes, config=config, seed=seed)
    heads = fit_heads(features, label, classes=classes, lrs=(rate,), config=config, seed=seed)
    if not heads.weight.isfinite().all():
        raise _diverged((rate,))
    return heads, rate, found


def _taken(features: Features, rows: Tensor) -> Features:
    last: list[Tensor] = []  # where nothing is augmented the same tensor comes back: take the rows once
    source: list[Tensor] = []

    def at(epoch: int) -> Tensor:
        whole = features(epoch)
        if not source or source[0] is not whole:
            source[:], last[:] = [whole], [whole[rows]]
        return last[0]

    return at


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(x, dim=0, correction=0)
    deviation = variance.sqrt()
    return mean, torch.where(deviation > 1e-6, 1.0 / deviation, torch.zeros_like(deviation))


def _factor(config: LinearConfig, epoch: int) -> float:
    if config.schedule == "step":
        return schedule.multistep(1.0, epoch, config.milestones)
    return schedule.cosine(1.0, epoch, config.epochs)


def _diverged(lrs: tuple[float, ...]) -> ConfigError:
    rates = ", ".join(f"{lr:g}" for lr in lrs)
    return ConfigError(
        f"the linear classifier diverged (weights are not finite) at learning rate {rates}: give smaller --lrs"
    )
