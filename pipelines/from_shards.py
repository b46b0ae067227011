"""What the published recipes share: shards in, one training, scores on a labelled set, one page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.stage import Pipeline, Stage, eval_stage, report_stage, train_stage
from rstrain.config import TrainConfig, config_for
from rstrain.evals.config import EvalConfig, KnnConfig, LinearConfig


class FromShards(Pipeline):
    """Train one method on a shard set with its published settings, and score it.

    A recipe says `kind`, `full` and `small`. No stage before it makes its data, so what the data are decides whether a
    stage is done again.
    """

    data: str = Field("data/shards", description="shard set that is trained on")
    eval_data: str | None = Field(
        None, description="labelled shard set that is scored on by kNN and linear probe; left out: no scores"
    )
    size: Literal["full", "small"] = Field(
        "full", description="full: as published; small: two cores, minutes"
    )
    seed: int = Field(0, ge=0, description="of order and weights")

    def kind(self) -> str:
        """The method, as `rstrain pretrain` calls it."""
        raise NotImplementedError

    def full(self) -> dict[str, Any]:
        """Settings of the published run that differ from the method's defaults."""
        raise NotImplementedError

    def small(self) -> dict[str, Any]:
        """Settings with which the same method runs on two cores."""
        raise NotImplementedError

    def train(self) -> TrainConfig:
        """The run."""
        settings = self.full() if self.size == "full" else self.small()
        return config_for(self.kind()).build(data=self.data, seed=self.seed, **settings)

    def evaluate(self, run: Path) -> list[EvalConfig]:
        """KNN and linear probe on the labelled set, if there is one."""
        if self.eval_data is None:
            return []
        common: dict[str, Any] = {"data": self.eval_data, "checkpoint": str(run), "seed": self.seed}
        return [
            KnnConfig(**common, out=run / "evals" / "knn.json"),
            LinearConfig(**common, out=run / "evals" / "linear.json"),
        ]

    def stages(self, out: Path) -> list[Stage]:
        """Training, scores, page."""
        run = out / self.kind()
        config = self.train()
        stages = [_of(train_stage("train", config, run, needs=()), config.data, config.data2)]
        scores = self.evaluate(run)
        if scores:
            stages.append(_of(eval_stage("score", scores, needs=("train",)), self.eval_data))
        page = report_stage([run], out / "report.html", config.method.paper, needs=(stages[-1].name,))
        return [*stages, page]


def _of(stage: Stage, *data: str | None) -> Stage:
    """The stage, with the fingerprints of the sets it reads among what decides its result."""
    return replace(stage, config=stage.config | {"reads": [_identity(where) for where in data if where]})


def _identity(where: str) -> str:
    from shards.dataset import read_info
    from shards.errors import UserError

    try:
        return read_info(where).fingerprint
    except UserError:  # `show` works before the set is there; training will say what is wrong with it
        return where


SMALL_OPTIM: dict[str, Any] = {
    "optimizer": "adamw",
    "lr": 1.5e-3,
    "scale_lr": "none",
    "schedule": "cosine",
    "weight_decay": 0.01,
    "warmup_epochs": 0.2,
    "min_lr": 0.0,
    "min_lr_share": 0.0,
}
"""In a few hundred steps SGD and LARS do not leave the random start behind."""

SMALL_RUN: dict[str, Any] = {
    "arch": "resnet18",
    "epochs": 4,
    "batch": 64,
    "precision": "bf16",
    "optim": SMALL_OPTIM,
}
SMALL_QUEUE: dict[str, Any] = {"temperature": 0.07, "queue": 1024, "encoder_momentum": 0.99}
