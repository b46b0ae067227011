"""Scores: what an evaluation says, with the digests of what it was made from."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rstrain.evals.label_metrics import class_ap, f1_of, micro_ap, micro_ap_interval
from rstrain.evals.metrics import (
    bootstrap_interval,
    confusion_matrix,
    per_class,
    temporal_vote,
    top_k_hits,
)
from rstrain.evals.splits import Split
from shards.config import Config
from shards.errors import ShardError
from shards.store import Store

MAX_CONFUSION = 256
"""Classes up to which the confusion matrix is written."""


class ClassScore(Config):
    """One class of the test split, percent."""

    name: str
    support: int = Field(description="test views whose truth it is")
    precision_percent: float
    recall_percent: float
    f1_percent: float
    ap_percent: float | None = Field(
        None, description="average precision, where several classes may be right"
    )


class Mistake(Config):
    """A view that was surely given a wrong class."""

    row: int = Field(description="number of the view in the test split")
    key: str
    truth: str
    found: str
    confidence_percent: float = Field(description="share of the class that was found")


class Spread(Config):
    """One score over several seeds."""

    mean: float
    std: float = Field(description="of the sample (n - 1)")
    values: tuple[float, ...] = Field(description="in the order of seeds")


class Outcome(Config):
    """The numbers of one evaluation."""

    scores: dict[str, float] = Field(description="percent; `temporal_…` are votes of whole places")
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="95 % bootstrap interval over test places, percent"
    )
    per_class: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] | None = Field(None, description="counts; rows are truth")
    details: dict[str, Any] = Field(default_factory=dict, description="such as the learning rate chosen")
    mistakes: tuple[Mistake, ...] = Field(
        (), description="the surest ones, one a place; drawn beside the scores"
    )


class Scores(Config):
    """The content of a scores file."""

    format: int = 1
    task: str
    protocol: dict[str, Any] = Field(description="the resolved config")
    checkpoint: dict[str, Any] = Field(
        description="source, sha256 of the weights, and the facts of its header"
    )
    data: dict[str, Any] = Field(description="name, fingerprint, splits")
    n_train: int
    n_test: int
    n_test_places: int
    seed: int
    near: dict[str, Any] | None = Field(
        None, description="test views within some kilometres of a place that was learnt from"
    )
    leakage: dict[str, Any] | None = Field(
        None, description="what the test split shares with the data that the checkpoint learnt from"
    )
    spread: dict[str, Spread] = Field(default_factory=dict, description="over seeds, where more than one ran")
    seconds: float
    versions: dict[str, str]
    outcome: Outcome

    @property
    def scores(self) -> dict[str, float]:
        """The headline numbers, percent."""
        return self.outcome.scores

    def summary(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.task} of {self.checkpoint['source']} ({self.checkpoint['arch']}) on {self.data['name']}: "
            f"{self.n_train:,} train, {self.n_test:,} test views of {self.n_test_places:,} places"
        ]
        for name, value in self.scores.items():
            low_high = self.outcome.intervals.get(name)
            tail = f"  [{low_high[0]:.2f}, {low_high[1]:.2f}]" if low_high else ""
            if name in self.spread:
                s = self.spread[name]
                tail += f"  mean {s.mean:.2f}, std {s.std:.2f} over {len(s.values)} seeds"
            lines.append(f"  {name:<34} {value:6.2f}{tail}")
        if self.near is not None and (close := self.near["within_1_km"]):
            lines.append(f"  {close:,} test views lie within 1 km of a place that was learnt from")
        if self.leakage is not None:
            lines.append(f"  shared with {self.leakage['name']}: {self.leakage['summary']}")
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        store = Store(path.parent)
        store.make()
        store.write(path.name, (self.model_dump_json(indent=1, exclude_none=True) + "\n").encode())


def classification(
    scores: NDArray[np.floating],
    truth: NDArray[np.int64],
    place: NDArray[np.int64],
    classes: list[str],
    *,
    seed: int,
) -> Outcome:
    """Outcome of class scores [M, C]; ties go to the smaller class, a score of -inf is never right."""
    prediction = scores.argmax(axis=1)
    confusion = confusion_matrix(truth, prediction, len(classes))
    table = per_class(confusion)
    hits = top_k_hits(scores, truth, 1)
    out = {"top1_percent": _percent(hits.mean())}
    if len(classes) > 5:
        out["top5_percent"] = _percent(top_k_hits(scores, truth, 5).mean())
    for name, value in zip(("precision", "recall", "f1"), table.macro(), strict=True):
        out[f"{name}_macro_percent"] = _percent(value)
    low, high = bootstrap_interval(hits, place, seed=seed)
    rows = [
        ClassScore(
            name=name,
            support=int(table.support[i]),
            precision_percent=_percent(table.precision[i]),
            recall_percent=_percent(table.recall[i]),
            f1_percent=_percent(table.f1[i]),
        )
        for i, name in enumerate(classes)
        if table.present[i]
    ]
    return Outcome(
        scores=out,
        intervals={"top1_percent": (_percent(low), _percent(high))},
        per_class=tuple(rows),
        confusion=tuple(map(tuple, confusion.tolist())) if len(classes) <= MAX_CONFUSION else None,
    )


def mistakes(
    probabilities: NDArray[np.floating], split: Split, classes: list[str], *, most: int = 12
) -> tuple[Mistake, ...]:
    """The surest wrong answers of class shares [M, C], one a place, the surest first."""
    found = probabilities.argmax(axis=1)
    sure = probabilities[np.arange(len(found)), found]
    wrong = np.flatnonzero(found != split.label)
    out: list[Mistake] = []
    seen: set[int] = set()
    for row in wrong[np.argsort(-sure[wrong], kind="stable")].tolist():
        if len(out) == most:
            break
        if int(split.place[row]) in seen:
            continue
        seen.add(int(split.place[row]))
        names = (classes[int(split.label[row])], classes[int(found[row])])
        out.append(
            Mistake(
                row=row,
                key=split.keys[row],
                truth=names[0],
                found=names[1],
                confidence_percent=_percent(sure[row]),
            )
        )
    return tuple(out)


def labelling(
    values: NDArray[np.floating],
    truth: NDArray[np.uint8],
    place: NDArray[np.int64],
    classes: list[str],
    *,
    seed: int,
) -> Outcome:
    """Outcome of several classes an image: logits and truth [M, C], scored on the whole split at once."""
    table = f1_of(truth, values > 0)
    ap, present = class_ap(truth, values), truth.sum(axis=0) > 0
    low, high = micro_ap_interval(truth, values, place, seed=seed)
    rows = [
        ClassScore(
            name=name,
            support=int(truth[:, i].sum()),
            precision_percent=_percent(table.precision[i]),
            recall_percent=_percent(table.recall[i]),
            f1_percent=_percent(table.f1[i]),
            ap_percent=_percent(ap[i]),
        )
        for i, name in enumerate(classes)
        if present[i]
    ]
    if not rows:
        raise ShardError("no test view has any class: average precision has no meaning; choose another split")
    return Outcome(
        scores={
            "micro_ap_percent": _percent(micro_ap(truth, values)),
            "macro_ap_percent": _percent(ap[present].mean()),
            "f1_micro_percent": _percent(table.micro),
            "f1_macro_percent": _percent(table.f1[present].mean()),
        },
        intervals={"micro_ap_percent": (_percent(low), _percent(high))},
        per_class=tuple(rows),
        details={"chance_micro_ap_percent": _percent(truth.mean())},
    )


def with_temporal(
    outcome: Outcome,
    probabilities: NDArray[np.floating],
    keys: list[str],
    truth: NDArray[np.int64],
    *,
    seed: int,
) -> Outcome:
    """`outcome` with the vote of each place added as `temporal_…`."""
    vote = temporal_vote(probabilities, keys, truth)
    places = np.arange(len(vote.groups))
    names = [str(i) for i in range(probabilities.shape[1])]
    whole = classification(vote.probabilities, vote.truth, places, names, seed=seed)
    return outcome.model_copy(
        update={
            "scores": outcome.scores | {f"temporal_{k}": v for k, v in whole.scores.items()},
            "intervals": outcome.intervals | {f"temporal_{k}": v for k, v in whole.intervals.items()},
        }
    )


def spread_of(outcomes: list[Outcome]) -> dict[str, Spread]:
    """Mean and deviation of each score over seeds; empty for one."""
    if len(outcomes) < 2:
        return {}
    out = {}
    for name in outcomes[0].scores:
        values = [o.scores[name] for o in outcomes]
        out[name] = Spread(
            mean=float(np.mean(values)), std=float(np.std(values, ddof=1)), values=tuple(values)
        )
    return out


def versions() -> dict[str, str]:
    """Of the interpreter and the packages that numbers may depend on."""
    names = ("rspretrain", "numpy", "torch", "torchvision")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}


def _percent(value: float | np.floating) -> float:
    return round(100.0 * float(value), 4)
