"""What segmentation and change share: training on crops of places with masks, and counts of every pixel that is scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rstrain import distributed
from rstrain.data.workers import read_ahead
from rstrain.dense import pictures
from rstrain.dense.boxes import alike, own_share
from rstrain.dense.loop import fit, steps_of
from rstrain.dense.masks import Cropping, MaskBatch, MaskBatches, MaskReader, MaskSteps
from rstrain.dense.predict import as_images
from rstrain.evals.bench import Bench, joined
from rstrain.evals.dense_config import DenseConfig
from rstrain.evals.pixels import Counts, confusion_of
from rstrain.evals.resume import Course
from rstrain.models.sync_norm import sync_batch_norms
from shards.console import progress
from shards.errors import ConfigError

LossOf = Callable[[nn.Module, list[Tensor], Tensor], dict[str, Tensor]]
"""Parts of the loss of a module, normalised images [B, C, H, W] of each date and their masks, uint8 [B, H, W]."""
Predict = Callable[[Sequence[Tensor]], Tensor]
"""Normalised images [B, C, H, W] of each date -> classes [B, H, W]."""


def fit_masks(
    model: nn.Module,
    loss_of: LossOf,
    *,
    config: DenseConfig,
    bench: Bench,
    reader: MaskReader,
    cropping: Cropping,
    seed: int,
    title: str,
    course: Course | None,
) -> None:
    """Train in place on crops of the reader's places, and leave the model in evaluation mode.

    Raises:
        ConfigError: no pixel that was seen has a class, or see `fit`.
    """
    sync_batch_norms(model)
    rank, world = distributed.rank(), distributed.world_size()
    steps = MaskSteps(config, cropping, reader, seed=seed, rank=rank, world=world)
    count = len(reader.rows)

    def loss_of_batch(module: nn.Module, batch: MaskBatch) -> dict[str, Tensor]:
        truth = torch.from_numpy(batch.masks).to(bench.device)
        return loss_of(module, images_of(batch, bench), truth)

    losses = fit(
        model,
        lambda start: read_ahead(steps, start, steps_of(config, count), workers=config.workers),
        loss_of_batch,
        config=config,
        images=count,
        seed=seed,
        device=bench.device,
        title=f"{title}, seed {seed}",
        course=course,
    )
    if not any(losses):
        raise ConfigError(
            f"every pixel seen of split {bench.train_split!r} is ignored: there is nothing to learn from"
        )


def images_of(batch: MaskBatch, bench: Bench) -> list[Tensor]:
    """Each date, normalised, on the device."""
    levels = [torch.from_numpy(pixels) for pixels in batch.images]
    return as_images(levels, bench.facts.mean, bench.facts.std, bench.device)


def score_masks(
    config: DenseConfig, bench: Bench, reader: MaskReader, predict: Predict, sheet: Path | None
) -> Counts:
    """Counts [N, C, C] of every test place; pictures go to `sheet`."""
    counts = confusions(bench, reader, predict, batch=config.batch, workers=config.workers, amp=config.amp)
    if sheet is not None and config.pictures and distributed.is_main():
        draw(bench, reader, predict, config.pictures, sheet)
    return counts


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
            got = predict(images_of(part, bench)).cpu().numpy()
            counts = [confusion_of(t, p, classes).ravel() for t, p in zip(part.masks, got, strict=True)]
            found.append(np.stack(counts).astype(np.float64))  # exact up to 2**53
            bar.advance(len(part.rows))
    return joined(np.concatenate(found), bench.device).astype(np.int64).reshape(-1, classes, classes)


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


def percent(value: float | np.floating) -> float:
    """Rounded as all scores are."""
    return round(100.0 * float(value), 4)
