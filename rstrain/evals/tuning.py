"""A backbone with a classifier, trained from its weights on: the same for any number of ranks and workers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from rstrain import distributed
from rstrain.data.batch import HostBatch
from rstrain.data.config import AugmentConfig, DataConfig
from rstrain.data.loader import StepData
from rstrain.data.workers import read_ahead
from rstrain.engine import spread
from rstrain.evals.features import shown
from rstrain.evals.resume import Course
from rstrain.evals.splits import Split
from rstrain.evals.subject import Subject
from rstrain.evals.tuning_config import FinetuneConfig
from rstrain.interop.backbone import RANDOM
from rstrain.models.backbone import Backbone
from rstrain.models.init import seeded
from rstrain.models.sync_norm import sync_batch_norms
from rstrain.optim.optimizers import build_optimizer, set_lr
from shards.errors import ConfigError
from shards.random import address, stream, uniform

_HEAD, _DROPOUT, _ORDER = stream("evals/tuning/head"), stream("evals/tuning/dropout"), stream("evals/tuning")
_TORCH = stream("evals/tuning/torch")
_WHOLE = 1 << 20
"""A window that no image is larger than: its short side decides."""


class Classifier(nn.Module):
    """Images to logits."""

    def __init__(self, backbone: Backbone, classes: int, config: FinetuneConfig, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        norms = [nn.BatchNorm1d(backbone.features, affine=False, eps=1e-6)] if config.head_norm else []
        self.norm = nn.Sequential(*norms)
        with seeded(int(address(_HEAD, seed)) >> 1):
            self.head = nn.Linear(backbone.features, classes)
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, res: Tensor | None = None, kept: Tensor | None = None) -> Tensor:
        """[B, C, S, S] -> [B, classes]; `kept` [B, F] multiplies the features."""
        features = self.norm(self.backbone(images, res))
        logits: Tensor = self.head(features if kept is None else features * kept)
        return logits


def tuned(
    config: FinetuneConfig, subject: Subject, train: Split, seed: int, course: Course | None = None
) -> tuple[Classifier, list[float]]:
    """The classifier after training, and the mean loss of each epoch; the backbone of the subject stays as it is.

    A step takes the same samples, cut in the same way, whatever the ranks; the gradient is that of their mean loss, and
    batch norms in training see all of them.

    Raises:
        ConfigError: the samples of a step do not divide by the ranks or are one where batch norms learn, or the loss
            is not finite.
        KeyboardInterrupt: a signal, where `course` has a folder.
    """
    course = course or Course()
    rank, ranks = distributed.rank(), distributed.world_size()
    device = subject.device
    model = Classifier(copy.deepcopy(subject.backbone), len(subject.classes), config, seed)
    model = model.to(device).to(memory_format=torch.channels_last)
    norm = config.norm if config.norm != "auto" else "train" if config.checkpoint == RANDOM else "eval"
    sync_batch_norms(model if norm == "train" else model.norm)
    world = distributed.World(rank, ranks, device.index or 0, device)
    share = config.head_lr / config.optim.lr if config.head_lr is not None else None
    optimizer = build_optimizer(config.optim, model, {"head.": share} if share is not None else None)
    batch = _batch(config.train_batch, len(train))
    if batch == 1 and (norm == "train" or config.head_norm):
        raise ConfigError(
            f"a step of one sample (--train-batch {config.train_batch}, {len(train):,} to learn from) gives batch norms in "
            "training nothing to normalise by: use more, or --norm eval and no --head-norm"
        )
    steps = max(1, round(config.epochs * len(train) / batch))
    data = _data(config, subject, train, batch, int(address(_ORDER, seed)) >> 1)
    label, told = torch.from_numpy(train.label), _told(config, subject, train)
    joined = spread.joined(model, world)
    _set_modes(model, norm)
    with (
        torch.random.fork_rng(devices=[]),
        course.running(model, optimizer),
        shown("finetune" if rank == 0 else "", steps, "steps", done=course.step) as advance,
    ):
        hosts = read_ahead(data, course.step, steps, workers=config.workers, pin=device.type == "cuda")
        for step, host in enumerate(hosts, course.step):
            set_lr(optimizer, config.optim.lr_at(step * batch / len(train), config.epochs, batch=batch))
            torch.manual_seed(int(address(_TORCH, seed, step)) >> 1)
            (images,) = host.views(subject.facts.mean, subject.facts.std, device)
            kept = _kept(config.dropout, seed, step, host.rows, model.backbone.features)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.amp):
                logits = joined(images, told(host), None if kept is None else kept.to(device))
            loss = _loss(logits.float(), label[host.rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            advance(1)
            course.took(loss)
    epochs: dict[int, list[Tensor]] = {}
    for step, loss in enumerate(course.losses):
        epochs.setdefault(step * batch // len(train), []).append(loss)
    return model.eval(), _means(list(epochs.values()))


def _batch(wanted: int, samples: int) -> int:
    """Samples a step: at most those there are, in whole sixteens, so that it divides by usual numbers of ranks."""
    if wanted <= samples:
        return wanted
    return samples // 16 * 16 or 1 << (samples.bit_length() - 1)


def _set_modes(model: Classifier, norm: str) -> None:
    model.train()
    if norm == "eval":
        for module in model.backbone.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def _data(config: FinetuneConfig, subject: Subject, train: Split, batch: int, seed: int) -> StepData:
    return StepData(
        DataConfig(views=1, workers=config.workers),
        _augment(config, subject.size),
        train.index,
        batch=batch,
        seed=seed,
        rank=distributed.rank(),
        world=distributed.world_size(),
        device=subject.device.type,
    )


def _augment(config: FinetuneConfig, size: int) -> AugmentConfig:
    """Geometry of the training views; nothing changes their colours."""
    plain = {"size": size, "hflip": config.hflip, "jitter": 0.0, "grayscale": 0.0, "blur": 0.0}
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    if config.crop == "resized":
        return AugmentConfig.build(**plain, scale=config.area)
    if config.resize == "squash":  # ratios this wide never fit but by the whole image
        return AugmentConfig.build(**plain, scale=(1.0, 1.0), ratio=(1e-3, 1e3))
    if config.crop == "random":
        return AugmentConfig.build(**plain, **whole, window=_WHOLE)
    return AugmentConfig.build(**plain, **whole, resize=size, center_crop=True)


def _told(config: FinetuneConfig, subject: Subject, train: Split) -> Callable[[HostBatch], Tensor | None]:
    """Resolution of each training view for a gsd: model: that of the test, times how far the crop zooms."""
    res = subject.resolution(train, subject.size)
    if res is None:
        return lambda host: None
    known: NDArray[np.float32] = res
    across = train.index.column("width")
    if config.resize == "crop":
        across = np.minimum(across, train.index.column("height"))

    def told(host: HostBatch) -> Tensor:
        rows = host.rows.numpy()
        zoom = 1.0 if config.gsd == "fixed" else host.zoom[0].numpy() * subject.size / across[rows]
        return torch.from_numpy((known[rows] * zoom).astype(np.float32)).to(subject.device)

    return told


def _kept(share: float, seed: int, step: int, rows: Tensor, features: int) -> Tensor | None:
    """Dropout as a function of (seed, step, row): neither ranks nor their order enter."""
    if not share:
        return None
    seen = uniform(_DROPOUT, seed, step, rows.numpy(), count=features) >= share
    return torch.from_numpy(seen).float() / (1 - share)


def _loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy; of label vectors the mean binary one (torch's multi-label soft margin)."""
    if label.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, label.float())
    return F.cross_entropy(logits, label)


def _means(epochs: list[list[Tensor]]) -> list[float]:
    found = [float(distributed.mean(torch.stack(losses).mean())) for losses in epochs]
    if not all(np.isfinite(found)):
        raise ConfigError("fine-tuning diverged (the loss is not finite): give a smaller --lr")
    return found
