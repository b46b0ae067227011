"""Detection: a backbone gets a detector's head, both are trained, and the test images are scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rstrain import distributed
from rstrain.data.workers import read_ahead
from rstrain.dense import pictures
from rstrain.dense.body import Body
from rstrain.dense.boxes import BoxBatches, Boxed, BoxReader, BoxSteps, alike, own_share
from rstrain.dense.detectors import Detector, Found, Truth, build_detector
from rstrain.dense.loop import fit, steps_of
from rstrain.evals.bench import Bench, joined
from rstrain.evals.dense_config import DetectConfig
from rstrain.evals.matching import (
    FOUND,
    TRUE,
    Objects,
    box_areas,
    box_ious,
    mask_areas,
    mask_ious,
    match_image,
)
from rstrain.evals.precision import Matches, ap50_interval, summary
from rstrain.evals.resume import Course
from rstrain.evals.scores import Outcome
from rstrain.models.init import seeded
from rstrain.models.sync_norm import sync_batch_norms
from shards.console import progress
from shards.errors import ConfigError

LEAST_SHOWN = 0.5
"""Score from which a detection is drawn."""


def detect(config: DetectConfig, bench: Bench, seed: int, sheet: Path | None, course: Course) -> Outcome:
    """Train and score; pictures go to `sheet`."""
    detector, losses = train(config, bench, seed, course)
    reader = BoxReader(bench.test, masks=config.model == "mask-rcnn")
    outcome = score(config, bench, detector, reader, seed)
    if sheet is not None and config.pictures and distributed.is_main():
        draw(config, bench, detector, reader, sheet)
    details = outcome.details | {"train_images": losses.images, "last_loss": round(losses.last, 5)}
    return outcome.model_copy(update={"details": details})


@dataclass(frozen=True)
class Losses:
    """What the training says of itself."""

    images: int
    """Those trained on, which may be without the empty ones."""
    last: float
    """Mean of the last tenth of the steps."""


def train(
    config: DetectConfig, bench: Bench, seed: int, course: Course | None = None
) -> tuple[Detector, Losses]:
    """A trained detector in evaluation mode.

    Raises:
        ConfigError: no image to train on, or see `fit`.
    """
    reader = BoxReader(bench.train, masks=config.model == "mask-rcnn")
    rows = np.arange(len(bench.train), dtype=np.int64)
    if not config.train_empty:
        rows = _with_boxes(reader, rows)
    if not len(rows):
        raise ConfigError("no training image has a box: use --train-empty, or another split")
    with seeded(seed):
        body = body_of(config, bench)
        detector = build_detector(config, body, len(bench.classes), bench.facts.mean, bench.facts.std)
    detector = detector.to(bench.device)
    sync_batch_norms(detector)
    steps = BoxSteps(config, reader, rows, seed=seed, rank=distributed.rank(), world=distributed.world_size())

    def batches(start: int) -> Iterator[list[Boxed]]:
        pin = bench.device.type == "cuda"
        return read_ahead(steps, start, steps_of(config, len(rows)), workers=config.workers, pin=pin)

    def loss_of(module: nn.Module, batch: list[Boxed]) -> dict[str, Tensor]:
        images = [levels(example, bench.device) for example in batch]
        losses: dict[str, Tensor] = module(images, [truth_of(example, bench.device) for example in batch])
        return losses

    losses = fit(
        detector,
        batches,
        loss_of,
        config=config,
        images=len(rows),
        seed=seed,
        device=bench.device,
        title=f"{config.model}, seed {seed}",
        course=course,
    )
    return detector, Losses(len(rows), float(np.mean(losses[-max(1, len(losses) // 10) :])))


def _with_boxes(reader: BoxReader, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of images with an object; crowds do not count. Every sample is read, for the index does not know."""
    kept = []
    with progress("images with boxes", len(rows), "images") as bar:
        for row in rows.tolist():
            if any(not box.crowd for box in reader.boxes(row)):
                kept.append(row)
            bar.advance(1, note=f"{len(kept):,} have some")
    return np.array(kept, np.int64)


def body_of(config: DetectConfig, bench: Bench) -> Body:
    """The backbone as maps.

    Raises:
        ConfigError: a network of one input size, and images brought to another.
    """
    resolution = config.base_resolution
    body = Body(bench.backbone, norm=bench.norm, trainable=config.trainable, resolution=resolution)
    if body.side is not None and {*config.min_sizes, config.max_size} != {body.side}:
        raise ConfigError(
            f"{body.arch} takes {body.side} x {body.side} px, for its positions are a table: give --min-sizes {body.side} "
            f"--max-size {body.side} and square images, or use a ResNet"
        )
    return body


def levels(example: Boxed, device: torch.device) -> Tensor:
    """float32 [C, H, W] on the device."""
    return torch.from_numpy(example.pixels).to(device, non_blocking=True).float()


def truth_of(example: Boxed, device: torch.device) -> Truth:
    """What a detector is told."""
    masks = None if example.masks is None else torch.from_numpy(example.masks).to(device)
    return Truth(
        torch.from_numpy(example.boxes).to(device), torch.from_numpy(example.labels).to(device), masks
    )


def score(config: DetectConfig, bench: Bench, detector: Detector, reader: BoxReader, seed: int) -> Outcome:
    """COCO's and VOC's scores of every test image, the same for any batch, workers and ranks."""
    test = bench.test
    rows = own_share(len(test), distributed.rank(), distributed.world_size())
    batches = alike(test, rows, config.batch)
    kinds = ("box", "mask") if config.model == "mask-rcnn" else ("box",)
    tables = {kind: ([np.zeros((0, len(FOUND)))], [np.zeros((0, len(TRUE)))]) for kind in kinds}
    detector.eval()
    with (
        progress("test images", len(rows), "images") as bar,
        torch.autocast(bench.device.type, torch.bfloat16, enabled=config.amp),
    ):
        for batch in read_ahead(BoxBatches(reader, batches), 0, len(batches), workers=config.workers):
            found = detector.find([levels(example, bench.device) for example in batch])
            for example, its in zip(batch, found, strict=True):
                for kind in kinds:
                    got, true = _matched(example, its, kind, config.max_dets[-1])
                    tables[kind][0].append(got)
                    tables[kind][1].append(true)
            bar.advance(len(batch))
    scores: dict[str, float] = {}
    details: dict[str, object] = {}
    intervals = {}
    place = test.places()[0]
    for kind in kinds:
        got, true = (joined(np.concatenate(parts), bench.device) for parts in tables[kind])
        matches = Matches(got, true, len(bench.classes))
        prefix = "mask_" if kind == "mask" else ""
        own, rows_of = summary(matches, config.max_dets)
        scores |= {prefix + name: value for name, value in own.items()}
        intervals[f"{prefix}ap50_percent"] = ap50_interval(matches, place, config.max_dets[-1], seed=seed)
        details[f"{prefix}per_class_percent"] = {bench.classes[k]: row for k, row in rows_of.items()}
        details["without_objects"] = [n for k, n in enumerate(bench.classes) if k not in rows_of]
    if not scores:
        raise ConfigError(f"no image of split {bench.test_split!r} has a box: there is nothing to score")
    return Outcome(scores=scores, intervals=intervals, details=details)


def _matched(
    example: Boxed, found: Found, kind: str, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels = found.labels.cpu().numpy()
    scores = found.scores.cpu().double().numpy()
    areas: Callable[..., NDArray[np.float64]] = box_areas
    shares: Callable[..., NDArray[np.float64]] = box_ious
    own: NDArray[np.generic] = found.boxes.cpu().double().numpy()
    true: NDArray[np.generic] = example.boxes.astype(np.float64)
    if kind == "mask":
        assert found.masks is not None and example.masks is not None
        areas, shares = mask_areas, mask_ious
        own, true = found.masks.cpu().numpy().astype(np.uint8), example.masks
    objects = Objects(example.labels, areas(true), example.crowd, example.difficult)
    return match_image(
        example.row, labels, scores, areas(own), shares(own, true, example.crowd), objects, most=most
    )


def draw(config: DetectConfig, bench: Bench, detector: Detector, reader: BoxReader, sheet: Path) -> None:
    """Truth on the left, detections with a score of at least 0.5 on the right."""
    rows = []
    for row in pictures.chosen(len(bench.test), config.pictures):
        example = reader.read(int(row))
        found = detector.find([levels(example, bench.device)])[0]
        sure = found.scores >= LEAST_SHOWN
        picture = pictures.rgb_of(bench.test, example.pixels.transpose(1, 2, 0))
        boxes, labels = found.boxes[sure].float().cpu().numpy(), found.labels[sure].tolist()
        rows.append(
            (
                pictures.with_boxes(picture, example.boxes, example.labels.tolist()),
                pictures.with_boxes(picture, boxes, labels),
            )
        )
    titles = ("truth", f"found, score {LEAST_SHOWN:g} and more")
    pictures.save(sheet, rows, titles, pictures.legend_of(bench.classes, masks=False))
