"""Segmentation: a backbone gets a decoder, both are trained, and every pixel of the test images is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain import distributed
from rstrain.data.workers import read_ahead
from rstrain.dense import pictures
from rstrain.dense.boxes import alike, own_share
from rstrain.dense.loop import fit, steps_of
from rstrain.dense.masks import Cropping, MaskBatch, MaskBatches, MaskReader, MaskSteps
from rstrain.dense.predict import as_images, whole, windows
from rstrain.dense.segmenters import Segmenter, build_segmenter
from rstrain.evals.bench import Bench, joined
from rstrain.evals.dense_config import SegmentConfig
from rstrain.evals.metrics import per_class
from rstrain.evals.pixels import Counts, confusion_of, interval, ious, mean_iou, per_image_ious
from rstrain.evals.resume import Course
from rstrain.evals.scores import MAX_CONFUSION, ClassScore, Outcome
from rstrain.models.init import seeded
from rstrain.models.sync_norm import sync_batch_norms
from shards.console import progress
from shards.errors import ConfigError, ShardError
from shards.targets import IGNORE

Predict = Callable[[Sequence[Tensor]], Tensor]
"""Normalised images [B, C, H, W] of each date -> classes [B, H, W]."""


def segment(config: SegmentConfig, bench: Bench, seed: int, sheet: Path | None, course: Course) -> Outcome:
    """Train and score; pictures go to `sheet`."""
    if len(bench.classes) < 2:
        raise ShardError(
            f"{bench.test.store}: its masks have one class ({bench.classes[0]}), so there is nothing to tell apart; "
            "segmentation needs two or more"
        )
    model = train(config, bench, seed, course)
    predict = predictor(config, model, bench.side)
    reader = MaskReader(bench.test, dates=1, classes=len(bench.classes))
    counts = confusions(bench, reader, predict, batch=config.batch, workers=config.workers, amp=config.amp)
    if sheet is not None and config.pictures and distributed.is_main():
        draw(bench, reader, predict, config.pictures, sheet)
    return outcome_of(counts, bench, reader, seed)


def train(config: SegmentConfig, bench: Bench, seed: int, course: Course | None = None) -> Segmenter:
    """A trained segmenter in evaluation mode.

    Raises:
        ConfigError: a head that does not fit, or see `fit`.
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
    sync_batch_norms(model)
    cropping = Cropping(bench.side, config.scale_low, config.scale_high, config.most_of_one)
    rank, world = distributed.rank(), distributed.world_size()
    steps = MaskSteps(config, cropping, reader, seed=seed, rank=rank, world=world)
    count = len(reader.rows)

    def loss_of(module: nn.Module, batch: MaskBatch) -> dict[str, Tensor]:
        images = as_images(tensors(batch), bench.facts.mean, bench.facts.std, bench.device)
        truth = torch.from_numpy(batch.masks).to(bench.device).long()
        logits = module(images[0])
        own = dice if config.loss == "dice" else cross_entropy
        parts = {"loss": own(logits[0], truth)}
        for extra in logits[1:]:
            parts["aux"] = config.aux * cross_entropy(extra, truth)
        return parts

    losses = fit(
        model,
        lambda start: read_ahead(steps, start, steps_of(config, count), workers=config.workers),
        loss_of,
        config=config,
        images=count,
        seed=seed,
        device=bench.device,
        title=f"{config.model}, seed {seed}",
        course=course,
    )
    check_counted(losses, bench)
    return model


def check_counted(losses: Sequence[float], bench: Bench) -> None:
    """Refuse a training that saw no pixel with a class: its loss was 0 all the time.

    Raises:
        ConfigError: names the split.
    """
    if not any(losses):
        raise ConfigError(
            f"every pixel seen of split {bench.train_split!r} is ignored: there is nothing to learn from"
        )


def tensors(batch: MaskBatch) -> list[Tensor]:
    """Levels of each date."""
    return [torch.from_numpy(pixels) for pixels in batch.images]


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


@torch.no_grad()
def confusions(
    bench: Bench, reader: MaskReader, predict: Predict, *, batch: int, workers: int | None, amp: bool
) -> Counts:
    """Counts [N, C, C] of every test place in the order of rows, the same on all ranks."""
    rows = reader.rows[own_share(len(reader.rows), distributed.rank(), distributed.world_size())]
    batches = alike(bench.test, rows, batch)
    classes = len(bench.classes)
    found = [np.zeros((0, classes * classes))]
    with (
        progress("test images", len(rows), "images") as bar,
        torch.autocast(bench.device.type, torch.bfloat16, enabled=amp),
    ):
        for part in read_ahead(MaskBatches(reader, batches), 0, len(batches), workers=workers):
            images = as_images(tensors(part), bench.facts.mean, bench.facts.std, bench.device)
            got = predict(images).cpu().numpy()
            counts = [confusion_of(t, p, classes).ravel() for t, p in zip(part.masks, got, strict=True)]
            found.append(np.stack(counts).astype(np.float64))  # exact up to 2**53
            bar.advance(len(part.rows))
    return joined(np.concatenate(found), bench.device).astype(np.int64).reshape(-1, classes, classes)


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


def percent(value: float | np.floating) -> float:
    """Rounded as all scores are."""
    return round(100.0 * float(value), 4)


def draw(bench: Bench, reader: MaskReader, predict: Predict, wanted: int, sheet: Path) -> None:
    """Each date, then truth, then prediction."""
    rows = []
    for number in pictures.chosen(len(reader.rows), wanted):
        place = reader.read(int(reader.rows[number]))
        levels = [torch.from_numpy(image.transpose(2, 0, 1)[None].copy()) for image in place.images]
        with torch.no_grad():
            got = predict(as_images(levels, bench.facts.mean, bench.facts.std, bench.device))[0].cpu().numpy()
        dates = [pictures.plain(pictures.rgb_of(bench.test, image)) for image in place.images]
        rows.append((*dates, pictures.of_mask(place.mask), pictures.of_mask(got)))
    named = ("image",) if len(rows[0]) == 3 else ("first date", "second date")
    titles = (*named, "truth", "prediction")
    pictures.save(sheet, rows, titles, pictures.legend_of(bench.classes, masks=True))
