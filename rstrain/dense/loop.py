"""The training loop of networks with dense heads: seeded steps, warm-up, clipped gradients, ranks that agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rstrain import distributed
from rstrain.dense.body import Body
from rstrain.evals.dense_config import DenseConfig
from rstrain.evals.resume import Course
from rstrain.optim import schedule
from shards.console import progress
from shards.errors import ConfigError
from shards.random import address, stream

_DRAWS = stream("dense/draws")


def steps_of(config: DenseConfig, images: int) -> int:
    """Optimiser steps of a training over `images`.

    Raises:
        ConfigError: fewer images than a step takes.
    """
    if config.train_batch > images:
        raise ConfigError(
            f"train_batch={config.train_batch} is larger than the {images} training images: use a smaller one"
        )
    return max(1, int(config.epochs * images) // config.train_batch)


def rate(config: DenseConfig, step: int, steps: int, images: int) -> float:
    """Learning rate of a step. `step` and `exponential` count whole epochs, `poly` and `cosine` steps."""
    epoch = step * config.train_batch / images
    match config.schedule:
        case "step":
            lr = schedule.multistep(config.lr, epoch, config.milestones, gamma=config.gamma)
        case "exponential":
            lr = schedule.exponential(config.lr, epoch, gamma=config.gamma)
        case "poly":
            lr = schedule.polynomial(config.lr, step, steps, power=0.9, min_lr=config.min_lr)
        case "cosine":
            lr = schedule.cosine(config.lr, step, steps, min_lr=config.min_lr)
        case "constant":
            lr = config.lr
    if step < config.warmup_steps:
        lr *= config.warmup_from + (1 - config.warmup_from) * step / config.warmup_steps
    return lr


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterator[Any]],
    loss_of: Callable[[nn.Module, Any], dict[str, Tensor]],
    *,
    config: DenseConfig,
    images: int,
    seed: int,
    device: torch.device,
    title: str,
    course: Course | None = None,
) -> list[float]:
    """Train in place and leave the model in evaluation mode; answers the loss of each step.

    What is drawn inside the network (sampled boxes, dropout) is a function of (seed, step, rank). Gradients are the mean
    over ranks of those of their shares.

    Args:
        model: what is trained; parameters that want no gradient stay as they are.
        batches: one rank's share of each step, from a given one on.
        loss_of: the parts of the loss, of a module that stands for the model and of a share.
        config: rate, course, batch.
        images: how many an epoch has.
        seed: of the draws.
        device: where the model is.
        title: of the progress bar.
        course: where to go on from, and whether to save.

    Raises:
        ConfigError: nothing to train, fewer images than a step takes, or the loss is not finite.
        KeyboardInterrupt: a signal, where `course` has a folder.
    """
    course = course or Course()
    wanted = [p for p in model.parameters() if p.requires_grad]
    if not wanted:
        raise ConfigError("nothing of the model can be trained: raise --trainable")
    steps = steps_of(config, images)
    optimizer = _optimizer(config, wanted)
    module: nn.Module = model
    if distributed.world_size() > 1:
        ids = [device.index] if device.type == "cuda" else None
        # networks of timm keep a last norm for a classifier, which no map goes through
        spare = any(isinstance(m, Body) and m.kind != "resnet" for m in model.modules())
        module = nn.parallel.DistributedDataParallel(
            model, device_ids=ids, broadcast_buffers=False, find_unused_parameters=spare
        )
    model.train()
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        course.running(model, optimizer),
        progress(title, steps, "steps", done=course.step) as bar,
    ):
        for step, batch in enumerate(batches(course.step), course.step):
            torch.manual_seed(int(address(_DRAWS, seed, step, distributed.rank())) >> 1)
            for group in optimizer.param_groups:
                group["lr"] = rate(config, step, steps, images)
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
                parts = loss_of(module, batch)
            loss = torch.stack([part.float() for part in parts.values()]).sum()
            if not bool(torch.isfinite(distributed.mean(loss))):
                raise ConfigError(
                    f"the loss of step {step} is not finite ({_named(parts)}): give a smaller --lr or a longer "
                    "--warmup-steps"
                )
            loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
            if config.clip:
                torch.nn.utils.clip_grad_norm_(wanted, config.clip)
            optimizer.step()
            mean = distributed.mean(loss)
            bar.advance(1, note=f"loss {float(mean):.3f}")
            course.took(mean)
    model.eval()
    distributed.average_batch_norms(model)
    return [float(loss) for loss in course.losses]


def _optimizer(config: DenseConfig, wanted: list[nn.Parameter]) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam(wanted, lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.SGD(wanted, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)


def _named(parts: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {float(value.detach()):.3g}" for name, value in parts.items())
