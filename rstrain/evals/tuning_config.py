"""FinetuneConfig: the whole network learns from labels. Imports neither torch nor numpy, so `--help` stays instant."""

from __future__ import annotations

from typing import Any, Literal, Self

import pydantic
from pydantic import Field

from rstrain.evals.config import EvalConfig
from rstrain.optim.config import OptimConfig

_STEPPED = {"schedule": "step", "milestones": (60.0, 80.0), "weight_decay": 0.0}
_VICREG = {"epochs": 20, "norm": "train", "crop": "resized", "area": (0.08, 1.0), "hflip": 0.5}
_PRESETS: dict[str, dict[str, Any]] = {
    "own": {
        "optim": {"optimizer": "adamw", "lr": 1e-4, "schedule": "cosine", "weight_decay": 0.05},
        "head_lr": 1e-3,
    },
    "geoaware": {
        "optim": _STEPPED | {"lr": 1e-3},
        "epochs": 100,
        "train_batch": 256,
        "norm": "eval",
        "crop": "random",
        "hflip": 0.0,
    },
    "vicreg-1": _VICREG
    | {
        "optim": {"lr": 0.03, "schedule": "cosine_epoch", "weight_decay": 0.0},
        "head_lr": 0.08,
        "train_batch": 128,
        "fraction": 0.01,
    },
    "vicreg-10": _VICREG
    | {
        "optim": {"lr": 0.01, "schedule": "cosine_epoch", "weight_decay": 0.0},
        "head_lr": 0.1,
        "train_batch": 256,
        "fraction": 0.1,
    },
    "scalemae": {
        "optim": {
            "optimizer": "adamw",
            "lr": 1e-3,
            "scale_lr": "batch256",
            "beta2": 0.95,
            "weight_decay": 0.05,
            "layer_decay": 0.75,
        },
        "epochs": 400,
        "train_batch": 64,
        "norm": "train",
        "head_norm": True,
    },
    "seco": {
        "optim": _STEPPED | {"optimizer": "adamw", "lr": 1e-5},
        "target": "labels",
        "epochs": 100,
        "train_batch": 256,
        "dropout": 0.2,
        "norm": "eval",
        "crop": "centre",
        "hflip": 0.0,
    },
}


class FinetuneConfig(EvalConfig):
    """The whole network learns from labels, or from a share of them (the semi-supervised protocols)."""

    kind: Literal["finetune"] = "finetune"
    preset: Literal["own", "geoaware", "vicreg-1", "vicreg-10", "scalemae", "seco"] = Field(
        "own",
        description="own: AdamW 1e-4 and 1e-3 for the head, cosine, 20 epochs; "
        "geoaware: the paper's Finetune column by its old script (SGD 1e-3, 100 epochs, times 0.1 at 60 and 80, batch 256, "
        "frozen statistics, random crops); vicreg-1 and vicreg-10: 1 % and 10 % of the labels, 20 epochs, SGD with a "
        "rate for the head and one for the rest; scalemae: AdamW 1e-3 times batch / 256, layer decay 0.75, batch norm before "
        "the head, 400 epochs; seco: BigEarthNet (labels, Adam 1e-5, dropout 0.2, frozen statistics, no augmentation). Any "
        "option given overrides the preset",
    )
    target: Literal["class", "labels"] = Field(
        "class", description="labels: several classes an image, from the set's labels.npy"
    )
    fraction: float | None = Field(
        None,
        gt=0,
        le=1,
        description="share of the training places whose labels are used: as many of each class, drawn by the seed, the "
        "smaller shares inside the larger; the list is kept beside the scores",
    )
    epochs: int = Field(20, gt=0, description="passes over the training views")
    train_batch: int = Field(
        64,
        gt=0,
        description="samples a step over all ranks; at most the samples there are, in whole sixteens",
    )
    optim: OptimConfig = Field(default_factory=OptimConfig)
    head_lr: float | None = Field(
        None, gt=0, description="learning rate of the head, before scale_lr; that of the rest when left out"
    )
    norm: Literal["auto", "eval", "train"] = Field(
        "auto",
        description="statistics of the backbone's batch norms. eval: those of the checkpoint, while their weights learn; "
        "train: of each batch, over all ranks; auto: eval for a checkpoint, train for `random`, whose own say nothing yet",
    )
    head_norm: bool = Field(False, description="batch norm without weights before the head")
    dropout: float = Field(
        0.0, ge=0, lt=1, description="share of the features that the head does not see in a step"
    )
    crop: Literal["centre", "random", "resized"] = Field(
        "resized",
        description="of a training image. centre: as in the test; random: a square of its short side; resized: an `area` "
        "of it, brought to the input's size",
    )
    area: tuple[float, float] = Field((0.5, 1.0), description="of a resized crop, share of the image")
    hflip: float = Field(0.5, ge=0, le=1, description="probability of a mirror image, left to right")
    save_minutes: float = Field(
        10,
        gt=0,
        description="minutes between checkpoints in OUT.resume, from which the same command goes on after an "
        "interruption; one is also made on SIGTERM and Ctrl-C",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _fill(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        preset = _PRESETS.get(str(values.get("preset", "own")), {})
        given = values.get("optim", {})
        optim = {"optim": preset.get("optim", {}) | given} if isinstance(given, dict) else {}
        return preset | values | optim

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if self.head_lr is not None and self.optim.layer_decay != 1.0:
            raise ValueError(
                f"head_lr={self.head_lr:g} and layer_decay={self.optim.layer_decay:g} both set the rate of the head "
                "apart: give one of them"
            )
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise ValueError(f"area={self.area[0]:g},{self.area[1]:g}: expected 0 < first <= second <= 1")
        return self
