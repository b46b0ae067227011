"""Segmentation: a backbone gets a decoder, both are trained, and every pixel of the test images is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain import distributed
from rstrain.dense.masks import Cropping, MaskReader
from rstrain.dense.predict import whole, windows
from rstrain.dense.segmenters import Segmenter, build_segmenter
from rstrain.evals.bench import Bench
from rstrain.evals.dense_config import SegmentConfig
from rstrain.evals.masks import Predict, fit_masks, percent, score_masks
from rstrain.evals.metrics import per_class
from rstrain.evals.pixels import Counts, interval, ious, mean_iou, per_image_ious
from rstrain.evals.resume import Course
from rstrain.evals.scores import MAX_CONFUSION, ClassScore, Outcome
from rstrain.models.init import seeded
from shards.errors import ConfigError, ShardError
from shards.targets import IGNORE


def segment(config: SegmentConfig, bench: Bench, seed: int, sheet: Path | None, course: Course) -> Outcome:
    """Train and score; pictures go to `sheet`."""
    if len(bench.classes) < 2:
        raise ShardError(
            f"{bench.test.store}: its masks have one class ({bench.classes[0]}), so there is nothing to tell apart; "
            "segmentation needs two or more"
        )
    model = train(config, bench, seed, course)
    reader = MaskReader(bench.test, dates=1, classes=len(bench.classes))
    counts = score_masks(config, bench, reader, predictor(config, model, bench.side), sheet)
    return outcome_of(counts, bench, reader, seed)


def train(config: SegmentConfig, bench: Bench, seed: int, course: Course | None = None) -> Segmenter:
    """A trained segmenter in evaluation mode.

    Raises:
        ConfigError: a head that does not fit, or see `fit_masks`.
    """
    reader = MaskReader(bench.train, dates=1, classes=len(bench.classes))
    if config.train_batch == 1 and config.model != "unet":
        raise ConfigError(
            f"{config.model} pools to one cell, whose batch norm needs two images: --train-batch 2 or more"
        )
    with seeded(seed):
        model = build_segmenter(
            config, bench.backbone, len(bench.classes), norm=bench.norm, side=bench.side
        ).to(bench.device)

    def loss_of(module: nn.Module, images: list[Tensor], masks: Tensor) -> dict[str, Tensor]:
        logits, truth = module(images[0]), masks.long()
        own = dice if config.loss == "dice" else cross_entropy
        parts = {"loss": own(logits[0], truth)}
        for extra in logits[1:]:
            parts["aux"] = config.aux * cross_entropy(extra, truth)
        return parts

    fit_masks(
        model,
        loss_of,
        config=config,
        bench=bench,
        reader=reader,
        cropping=Cropping(bench.side, config.scale_low, config.scale_high, config.most_of_one),
        seed=seed,
        title=config.model,
        course=course,
    )
    return model


def cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean over the pixels of all ranks that count; 0 where none does."""
    known = distributed.mean((truth != IGNORE).sum().float()).clamp(min=1.0)
    return F.cross_entropy(logits.float(), truth, ignore_index=IGNORE, reduction="sum") / known


def dice(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - soft Dice (smooth 1) of the batch of all ranks, mean over the classes above 0."""
    known = (truth != IGNORE)[:, None]
    share = logits.float().softmax(dim=1) * known
    wanted = F.one_hot(truth.clamp(max=logits.shape[1] - 1), logits.shape[1]).movedim(-1, 1) * known
    over = (0, 2, 3)
    sums = torch.stack(((share * wanted).sum(over), share.sum(over), wanted.sum(over).float()))
    common, found, true = distributed.gather_with_gradient(sums[None]).sum(dim=0)[:, 1:]
    loss: Tensor = 1 - ((2 * common + 1) / (found + true + 1)).mean()
    return loss


def predictor(config: SegmentConfig, model: Segmenter, side: int) -> Predict:
    """How the model is asked for the classes of an image."""
    cut = config.test == "windows"
    if config.test == "auto":
        cut = config.model == "psanet" or model.body.side is not None or model.body.kind == "vit"

    def forward(images: Sequence[Tensor]) -> Tensor:
        out: list[Tensor] = model(images[0])
        return out[0]

    def predict(images: Sequence[Tensor]) -> Tensor:
        logits = windows(forward, images, side) if cut else whole(forward, images)
        return logits.argmax(dim=1)

    return predict


def outcome_of(counts: Counts, bench: Bench, reader: MaskReader, seed: int) -> Outcome:
    """Scores from counts: mIoU over the classes that are there or predicted, macro F1, accuracy of pixels."""
    total = counts.sum(axis=0)
    table, values = per_class(total), ious(total)
    if not total.sum():
        raise ConfigError(f"every pixel of split {bench.test_split!r} is ignored: there is nothing to score")
    scores = {
        "miou_percent": percent(mean_iou(total)),
        "f1_macro_percent": percent(table.macro()[2]),
        "pixel_accuracy_percent": percent(np.trace(total) / total.sum()),
    }
    if len(bench.classes) == 2:
        scores["iou_percent"] = percent(float(np.nan_to_num(values[1])))
        scores["f1_percent"] = percent(table.f1[1])
        scores |= {f"{name}_percent": percent(value) for name, value in per_image_ious(counts).items()}
    low, high = interval(counts, reader.rows, mean_iou, seed=seed)
    names = bench.classes
    rows = [
        ClassScore(
            name=name,
            support=int(table.support[i]),
            precision_percent=percent(table.precision[i]),
            recall_percent=percent(table.recall[i]),
            f1_percent=percent(table.f1[i]),
        )
        for i, name in enumerate(names)
        if table.present[i]
    ]
    return Outcome(
        scores=scores,
        intervals={"miou_percent": (percent(low), percent(high))},
        per_class=tuple(rows),
        confusion=tuple(map(tuple, total.tolist())) if len(names) <= MAX_CONFUSION else None,
        details={
            "iou_percent": {name: percent(values[i]) for i, name in enumerate(names) if values[i] >= 0},
            "unit": "pixels",
        },
    )
