"""Scores: what an evaluation says, with the digests of what it was made from."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from rstrain.evals.metrics import (
    bootstrap_interval,
    confusion_matrix,
    per_class,
    temporal_vote,
    top_k_hits,
)
from shards.config import Config
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
