"""Configs of the evaluations. Imports neither torch nor numpy, so `--help` stays instant."""

from __future__ import annotations

from typing import Any, Literal, Self

import pydantic
from pydantic import Field

from rstrain.evals.common import CommonConfig


class EvalConfig(CommonConfig):
    """What an evaluation of whole images needs: how a feature is made of each."""

    resize: Literal["crop", "squash"] = Field(
        "crop", description="crop: short side to `size`, then the centre; squash: both sides to `size`"
    )
    pool: Literal["own", "mean"] = Field(
        "own",
        description="feature of a ViT: its own (the class token, mostly), or the mean of its patch tokens; a masked "
        "autoencoder trains its class token hardly (mae) or not at all (scalemae)",
    )
    gsd: Literal["fixed", "relative", "true"] = Field(
        "fixed",
        description="resolution that a gsd: model is told. fixed: --base-resolution; relative: that times 224 / side of "
        "the input (Scale-MAE's --eval_gsd); true: metres that a pixel of the input spans, which the data must have",
    )
    base_resolution: float = Field(1.0, gt=0, description="of a gsd: model at 224 px")
    batch: int = Field(256, gt=0, description="images at a time; changes the speed, not the scores")
    amp: bool = Field(False, description="features in bfloat16: faster on a GPU, less exact")


class KnnConfig(EvalConfig):
    """Weighted k nearest neighbours on frozen features (Wu et al. 2018, section 3.4)."""

    kind: Literal["knn"] = "knn"
    k: int = Field(20, gt=0, description="neighbours that vote")
    temperature: float = Field(0.07, ge=0.005, description="a vote weighs exp(cosine / temperature)")
    vote: Literal["weighted", "majority"] = Field(
        "weighted", description="majority: Euclidean neighbours, one vote each, ties to the smaller label"
    )
    scales: tuple[float, ...] = Field(
        (),
        description="resolution sweep: also score with the queries at these shares of the input's side, for example "
        "1 0.5 0.25 0.125; a gsd: model is told the coarser resolution unless --gsd fixed is given",
    )
    gallery: Literal["full", "same"] = Field(
        "full",
        description="of the sweep. full: only the queries are coarser (Scale-MAE, section 4.1); same: the gallery is as "
        "coarse as the queries (its code)",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _told(cls, values: Any) -> Any:
        return {"gsd": "relative"} | values if isinstance(values, dict) and values.get("scales") else values

    @pydantic.model_validator(mode="after")
    def _shares(self) -> Self:
        if self.scales and not (min(self.scales) > 0 and max(self.scales) <= 1):
            raise ValueError(
                f"scales={list(self.scales)}: expected shares of the side, above 0 and at most 1"
            )
        return self


class ClusterConfig(EvalConfig):
    """K-means on frozen features, clusters named after the labels they cover best."""

    kind: Literal["cluster"] = "cluster"
    clusters: int | None = Field(None, gt=1, description="how many; as many as classes when left out")
    fit: Literal["test", "train", "all"] = Field(
        "test",
        description="where clusters are found. test: and scored there; train: each test view goes to the nearest; all: "
        "found in and scored on both splits together (the SpaceNet 7 study)",
    )
    restarts: int = Field(10, gt=0, description="k-means runs; the tightest is kept")
    unit: bool = Field(
        False, description="features at length 1 first; the published scores are of raw features"
    )


_STEPPED: dict[str, Any] = {"epochs": 100, "schedule": "step", "standardise": False}
_PRESETS: dict[str, dict[str, Any]] = {
    "features": {},
    "repo": _STEPPED | {"lrs": (1.0,), "random_crop": True},
    "seco": _STEPPED | {"optimizer": "adamw", "lrs": (1e-3,), "head_batch": 32},
    "vicreg": {
        "epochs": 100,
        "lrs": (0.02,),
        "weight_decay": 1e-6,
        "standardise": False,
        "random_crop": True,
    },
    "scalemae": {
        "epochs": 400,
        "optimizer": "adamw",
        "lrs": (2.5e-4,),
        "beta2": 0.95,
        "weight_decay": 0.05,
        "head_batch": 64,
        "schedule": "cosine_step",
        "standardise": False,
        "head_norm": True,
        "random_crop": True,
    },
}


class HeadConfig(EvalConfig):
    """A linear head on frozen features."""

    epochs: int = Field(60, gt=0, description="passes over the training features")
    head_batch: int = Field(256, gt=0, description="samples a step of the classifier")
    optimizer: Literal["sgd", "adamw", "lars"] = Field(
        "sgd",
        description="adamw without weight decay is Adam; adamw and lars spare the bias from decay, sgd does not",
    )
    lrs: tuple[float, ...] = Field(
        (0.001, 0.003, 0.01, 0.03, 0.1, 0.3),
        description="learning rates; with several, the best on held-out training places is taken, then all of train "
        "is learnt with it",
    )
    holdout: float = Field(0.15, gt=0, lt=1, description="share of the training places that chooses the rate")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd and lars; beta 1 of adamw")
    beta2: float = Field(0.999, ge=0, lt=1, description="beta 2 of adamw")
    weight_decay: float = Field(0.0, ge=0, description="weight decay of the classifier")
    schedule: Literal["cosine", "cosine_step", "step"] = Field(
        "cosine",
        description="cosine: set once an epoch; cosine_step: every step; step: times 0.1 at the milestones",
    )
    milestones: tuple[int, ...] = Field((60, 80), description="epochs at which `step` multiplies by 0.1")
    standardise: bool = Field(
        True,
        description="features to mean 0 and deviation 1 over train; a deviation from the published protocols",
    )
    head_norm: bool = Field(
        False, description="batch norm without weights before the classifier (MAE, Scale-MAE)"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the features that a step does not see")

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.lrs or min(self.lrs) <= 0:
            raise ValueError(f"lrs={list(self.lrs)}: give at least one learning rate above 0")
        return self


class LinearConfig(HeadConfig):
    """A linear classifier on frozen features."""

    kind: Literal["linear"] = "linear"
    preset: Literal["features", "repo", "seco", "vicreg", "scalemae"] = Field(
        "features",
        description="features: standardised features cached once, cosine, learning rate chosen on held-out training "
        "places; repo: as geography-aware-ssl (random crops, raw features, 100 epochs, lr 1 as its README, times 0.1 "
        "at 60 and 80); seco: EuroSAT of Seasonal Contrast (Adam 1e-3, batch 32, 100 epochs, the same steps); vicreg: SGD "
        "0.02, 100 epochs; scalemae: AdamW 1e-3 times 64 / 256 with batch norm, 400 epochs. Random crops stand for the "
        "resized and mirrored ones of the last two. Any option given overrides the preset",
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


class MultilabelConfig(HeadConfig):
    """Several classes an image: a sigmoid for each on frozen features, average precision on the whole split."""

    kind: Literal["multilabel"] = "multilabel"
    preset: Literal["features", "seco"] = Field(
        "features",
        description="features: as in `linear`, with Adam; seco: BigEarthNet of Seasonal Contrast with a frozen "
        "backbone (Adam 1e-3, dropout 0.2, batch 1024, 100 epochs, times 0.1 at 60 and 80). Any option given overrides it",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if isinstance(values, dict):
            return _LABELS.get(str(values.get("preset", "features")), {}) | values
        return values


_LABELS: dict[str, dict[str, Any]] = {
    "features": {"optimizer": "adamw", "lrs": (3e-4, 1e-3, 3e-3, 1e-2)},
    "seco": _STEPPED | {"optimizer": "adamw", "lrs": (1e-3,), "head_batch": 1024, "dropout": 0.2},
}
