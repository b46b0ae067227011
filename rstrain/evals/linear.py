"""A linear classifier on frozen features: all learning rates at once, one matrix product a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rstrain.evals.config import HeadConfig
from rstrain.evals.label_metrics import micro_ap
from rstrain.evals.rules import Rule
from rstrain.optim import schedule
from shards.errors import ConfigError
from shards.random import address, generator, permute, stream

_INIT = stream("evals/linear/init")
_ORDER = stream("evals/linear/order")
_HOLDOUT = stream("evals/linear/holdout")
_DROPOUT = stream("evals/linear/dropout")
_NORM_EPS, _NORM_MOMENTUM = 1e-6, 0.1

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
    config: HeadConfig,
    seed: int,
) -> Heads:
    """Mean cross-entropy (of label vectors: mean binary cross-entropy), a head for each rate; all start alike and see the same batches.

    Weights start at N(0, 0.01), biases at 0. The order of an epoch is a function of (seed, epoch). The gradient is
    written out, for the heads share every product with the features; it equals torch's optimisers on each head alone.

    Args:
        features: epoch -> [N, F].
        label: int64 [N], or vectors [N, C] of 0 and 1.
        classes: C.
        lrs: one rate a head.
        config: epochs, batch, optimiser, schedule, what is done to the features.
        seed: of the first weights, the order and the dropout.
    """
    first = features(0)
    n, width = first.shape
    heads, device = len(lrs), first.device
    shift, scale = _standard(first) if config.standardise else (first.new_zeros(width), first.new_ones(width))
    norm = _Norm(width, device) if config.head_norm else None
    start = generator(_INIT, seed).normal(0.0, 0.01, (width, classes)).astype(np.float32)
    weight = torch.from_numpy(start).to(device).repeat(1, heads)
    bias = first.new_zeros(heads * classes)
    target = label.float() / classes if label.ndim == 2 else label
    rule = Rule(config, weight, bias, heads)
    steps = -(-n // config.head_batch)
    for epoch in range(config.epochs):
        x = first if epoch == 0 else features(epoch)
        order = torch.from_numpy(permute(np.arange(n), n, _ORDER, seed, epoch)).to(device)
        for step, rows in enumerate(torch.split(order, config.head_batch)):
            part = x[rows].sub_(shift).mul_(scale)
            if norm is not None:
                part = norm(part)
            if config.dropout:
                part = part * _kept(part.shape, config.dropout, seed, epoch, step).to(device)
            logits = torch.addmm(bias, part, weight).view(len(rows), heads, classes)
            if label.ndim == 2:
                slope = logits.sigmoid_().div_(classes).sub_(target[rows, None])
            else:
                slope = logits.softmax(dim=2)
                slope[torch.arange(len(rows), device=device), :, target[rows]] -= 1.0
            slope = slope.view(len(rows), heads * classes) / len(rows)
            factor = _factor(config, epoch, step / steps)
            rule.step(part.T @ slope, slope.sum(dim=0), [lr * factor for lr in lrs])
    if norm is not None:
        shift, scale = norm.after(shift, scale)
    return Heads(weight.view(width, heads, classes), bias.view(heads, classes), shift, scale)


class _Norm:
    """Batch norm without weights; a batch of one sample passes with the running statistics."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.mean, self.variance = torch.zeros(width, device=device), torch.ones(width, device=device)

    def __call__(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            return (x - self.mean) * (self.variance + _NORM_EPS).rsqrt()
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        self.mean.lerp_(mean, _NORM_MOMENTUM)
        self.variance.lerp_(variance * (len(x) / (len(x) - 1)), _NORM_MOMENTUM)
        return (x - mean) * (variance + _NORM_EPS).rsqrt()

    def after(self, shift: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale of raw features that do both, first the given ones and then this norm with its running statistics."""
        own = (self.variance + _NORM_EPS).rsqrt()
        alive = torch.where(scale > 0, scale, torch.ones_like(scale))
        return shift + self.mean / alive, scale * own


def _kept(shape: torch.Size, share: float, seed: int, epoch: int, step: int) -> Tensor:
    """0 for features that a step does not see, and 1 / (1 - share) for the others."""
    draw = torch.Generator().manual_seed(int(address(_DROPOUT, seed, epoch, step)) >> 1)
    return (torch.rand(shape, generator=draw) >= share).float() / (1 - share)


def choose_rate(
    features: Features,
    central: Tensor,
    label: Tensor,
    place: NDArray[np.int64],
    *,
    classes: int,
    config: HeadConfig,
    seed: int,
) -> tuple[float, dict[float, float]]:
    """The rate with the best score on held-out training places (the smaller of equals), and the score of each, percent.

    The score is top-1; with several classes an image the micro average precision.

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
    finite = logits.isfinite().all(dim=2).all(dim=0)
    found = {
        lr: round(_quality(logits[:, i], label[held]), 4)
        for i, lr in enumerate(config.lrs)
        if bool(finite[i])
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
    config: HeadConfig,
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


def _quality(logits: Tensor, label: Tensor) -> float:
    if label.ndim == 2:
        return 100.0 * micro_ap(label.cpu().numpy(), logits.double().cpu().numpy())
    return float((logits.argmax(dim=1) == label).float().mean()) * 100.0


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


def _factor(config: HeadConfig, epoch: int, inside: float) -> float:
    """Share of the peak rate; `inside` is how much of the epoch has gone."""
    match config.schedule:
        case "step":
            return schedule.multistep(1.0, epoch, config.milestones)
        case "cosine":
            return schedule.cosine(1.0, epoch, config.epochs)
        case "cosine_step":
            return schedule.cosine(1.0, epoch + inside, config.epochs)


def _diverged(lrs: tuple[float, ...]) -> ConfigError:
    rates = ", ".join(f"{lr:g}" for lr in lrs)
    return ConfigError(
        f"the linear classifier diverged (weights are not finite) at learning rate {rates}: give smaller --lrs"
    )
