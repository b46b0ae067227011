"""Change between two dates: a decoder on the differences of a (frozen) encoder's maps, F1 of the whole split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from rstrain import distributed
from rstrain.dense.change import ChangeNet
from rstrain.dense.masks import Cropping, MaskReader
from rstrain.dense.predict import whole, windows
from rstrain.evals.bench import Bench
from rstrain.evals.dense_config import ChangeConfig
from rstrain.evals.masks import Predict, fit_masks, percent, score_masks
from rstrain.evals.pixels import Counts, batch_means, f1_of, interval, ious
from rstrain.evals.resume import Course
from rstrain.evals.scores import Outcome
from rstrain.models.init import seeded
from shards.console import progress
from shards.errors import ShardError
from shards.targets import IGNORE


def change(config: ChangeConfig, bench: Bench, seed: int, sheet: Path | None, course: Course) -> Outcome:
    """Train and score; pictures go to `sheet`."""
    if len(bench.classes) != 2:
        raise ShardError(
            f"{bench.test.store}: its masks have {len(bench.classes)} classes ({', '.join(bench.classes)}); change needs two"
        )
    model = train(config, bench, seed, course)
    reader = MaskReader(bench.test, dates=2, classes=2)
    counts = score_masks(config, bench, reader, predictor(config, model, bench.side), sheet)
    return outcome_of(config, counts, reader, seed)


def train(config: ChangeConfig, bench: Bench, seed: int, course: Course | None = None) -> ChangeNet:
    """A trained network in evaluation mode; with `trainable` 0 the encoder is as it was, to the last bit.

    Raises:
        ShardError: nothing has changed in what is learnt from.
        ConfigError: see `fit_masks`.
    """
    reader = MaskReader(bench.train, dates=2, classes=2)
    _check_changes(reader, bench.train_split)
    with seeded(seed):
        model = ChangeNet(
            bench.backbone, norm=bench.norm, trainable=config.trainable, resolution=config.base_resolution
        ).to(bench.device)

    def loss_of(module: nn.Module, images: list[Tensor], masks: Tensor) -> dict[str, Tensor]:
        return {"loss": change_loss(module(*images), masks, config.positive_weight)}

    fit_masks(
        model,
        loss_of,
        config=config,
        bench=bench,
        reader=reader,
        cropping=Cropping(bench.side),
        seed=seed,
        title="change",
        course=course,
    )
    return model


def _check_changes(reader: MaskReader, split: str) -> None:
    """Look for the first changed pixel."""
    with progress("search for a changed pixel", None, "masks") as bar:
        for row in reader.rows.tolist():
            bar.advance(1)
            if (reader.mask(row) == 1).any():
                return
    raise ShardError(
        f"{reader.index.store}: no pixel of split {split!r} has changed, so there is no change to learn: choose another "
        "--train-split"
    )


def change_loss(logits: Tensor, truth: Tensor, positive_weight: float) -> Tensor:
    """Binary cross-entropy of logits [B, H, W], mean over the pixels of all ranks that count."""
    known = truth != IGNORE
    count = distributed.mean(known.sum().float()).clamp(min=1.0)
    wanted = (truth == 1).float()
    weight = known * (1 + (positive_weight - 1) * wanted)
    return F.binary_cross_entropy_with_logits(logits.float(), wanted, weight, reduction="sum") / count


def predictor(config: ChangeConfig, model: ChangeNet, side: int) -> Predict:
    """1 where the probability reaches the threshold."""

    def forward(images: Sequence[Tensor]) -> Tensor:
        logits: Tensor = model(*images)
        return logits[:, None]

    def predict(images: Sequence[Tensor]) -> Tensor:
        cut = model.body.kind == "vit"
        logits = windows(forward, images, side) if cut else whole(forward, images)
        return (logits[:, 0].float().sigmoid() >= config.threshold).long()

    return predict


def outcome_of(config: ChangeConfig, counts: Counts, reader: MaskReader, seed: int) -> Outcome:
    """Precision, recall and F1 of change, pooled over all pixels, and as the authors averaged them."""
    total = counts.sum(axis=0)
    if not total[1].any():
        raise ShardError(
            f"{reader.index.store}: no pixel of what is scored has changed, so F1 has no meaning: choose another test split"
        )
    pooled = dict(zip(("precision", "recall", "f1"), f1_of(total), strict=True))
    compat = batch_means(counts, config.compat_batch, seed=seed)
    scores = {f"{name}_percent": percent(value) for name, value in pooled.items()}
    scores["iou_percent"] = percent(float(ious(total)[1]))
    scores |= {f"batch_mean_{name}_percent": percent(value) for name, value in compat.items()}
    low, high = interval(counts, reader.rows, lambda c: f1_of(c)[2], seed=seed)
    share = total[1].sum() / max(1, total.sum())
    return Outcome(
        scores=scores,
        intervals={"f1_percent": (percent(low), percent(high))},
        confusion=tuple(map(tuple, total.tolist())),
        details={
            "changed_percent": percent(share),
            "f1_of_all_changed_percent": percent(2 * share / (1 + share)),
        },
    )
