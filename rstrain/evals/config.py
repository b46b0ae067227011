"""Configs of the evaluations. Imports neither torch nor numpy, so `--help` stays instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
from pydantic import Field

from shards.config import Config


class EvalConfig(Config):
    """What every evaluation needs: a checkpoint, labelled data, and how to read it."""

    kind: str
    data: str = Field(description="shard set with labels: a folder or a URL")
    checkpoint: str = Field("random", description="backbone.safetensors, a run folder, or `random`")
    out: Path | None = Field(None, description="scores as JSON; RUN/evals/TASK.json for a run folder")
    arch: str | None = Field(None, description="architecture; needed for `random` only")
    stem: Literal["imagenet", "small"] = Field("imagenet", description="first layers of a random ResNet")
    train_split: str = Field("train", description="split that the classifier learns from")
    test_split: str | None = Field(
        None, description="split that is scored; `test` where there is one, else `val`"
    )
    size: int | None = Field(
        None, gt=0, description="side of the input, pixels; that of the training, 224 for `random`"
    )
    resize: Literal["crop", "squash"] = Field(
        "crop", description="crop: short side to `size`, then the centre; squash: both sides to `size`"
    )
    pool: Literal["own", "mean"] = Field(
        "own",
        description="feature of a ViT: its own (the class token, mostly), or the mean of its patch tokens; a masked "
        "autoencoder trains its class token hardly (mae) or not at all (scalemae)",
    )
    batch: int = Field(256, gt=0, description="images at a time; changes the speed, not the scores")
    workers: int | None = Field(None, ge=0, description="processes that decode; one a core, at most 8")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes the GPU where there is one"
    )
    amp: bool = Field(False, description="features in bfloat16: faster on a GPU, less exact")
    seed: int = Field(0, description="of a random backbone, of whatever is drawn, and of the interval")
    seeds: int = Field(1, gt=0, description="repeat with seed, seed+1, … and give mean and spread")


class KnnConfig(EvalConfig):
    """Weighted k nearest neighbours on frozen features (Wu et al. 2018, section 3.4)."""

    kind: Literal["knn"] = "knn"
    k: int = Field(20, gt=0, description="neighbours that vote")
    temperature: float = Field(0.07, ge=0.005, description="a vote weighs exp(cosine / temperature)")
    vote: Literal["weighted", "majority"] = Field(
        "weighted", description="majority: Euclidean neighbours, one vote each, ties to the smaller label"
    )


_PRESETS: dict[str, dict[str, Any]] = {
    "features": {},
    "repo": {
        "epochs": 100,
        "schedule": "step",
        "lrs": (1.0,),
        "standardise": False,
        "random_crop": True,
    },
}


class LinearConfig(EvalConfig):
    """A linear classifier on frozen features."""

    kind: Literal["linear"] = "linear"
    preset: Literal["features", "repo"] = Field(
        "features",
        description="features: standardised features cached once, cosine, learning rate chosen on held-out training "
        "places; repo: as geography-aware-ssl (random crops, raw features, 100 epochs, lr 1 as its README, times 0.1 "
        "at 60 and 80). Any option given overrides the preset",
    )
    epochs: int = Field(60, gt=0, description="passes over the training features")
    head_batch: int = Field(256, gt=0, description="samples a step of the classifier")
    lrs: tuple[float, ...] = Field(
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        description="learning rates; with several, the best on held-out training places is taken, then all of train "
        "is learnt with it",
    )
    holdout: float = Field(0.15, gt=0, lt=1, description="share of the training places that chooses the rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum")
    weight_decay: float = Field(0.0, ge=0, description="on weights and biases of the classifier")
    schedule: Literal["cosine", "step"] = Field("cosine", description="set once an epoch")
    milestones: tuple[int, ...] = Field((60, 80), description="epochs at which `step` multiplies by 0.1")
    standardise: bool = Field(
        True,
        description="features to mean 0 and deviation 1 over train; a deviation from the published protocols",
    )
    random_crop: bool = Field(
        False,
        description="random instead of central crops in training: features are computed again each epoch",
    )
    temporal: bool = Field(
        True, description="score the summed softmax of each place too, where places have several views"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return _PRESETS.get(str(values.get("preset", "features")), {}) | values
        return values

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.lrs or min(self.lrs) <= 0:
            raise ValueError(f"lrs={list(self.lrs)}: give at least one learning rate above 0")
        return self


AnyEval = Annotated[KnnConfig | LinearConfig, Field(discriminator="kind")]
"""Every evaluation: registry, validator and schema at once."""
