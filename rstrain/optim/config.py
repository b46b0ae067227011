"""OptimConfig: optimiser and schedule of one run. Imports neither torch nor numpy, so `--help` stays instant."""

from __future__ import annotations

import math
from typing import Literal, Self

import pydantic
from pydantic import Field

from rstrain.optim import schedule as rates
from shards.config import Config


class OptimConfig(Config):
    """How weights move. The defaults are those of MoCo (He et al. 2020) and of geography-aware-ssl."""

    optimizer: Literal["sgd", "adamw"] = Field(
        "sgd",
        description="sgd decays every parameter, batch norms and biases too, as MoCo does; adamw leaves out tensors "
        "of one dimension, as MAE does",
    )
    lr: float = Field(0.03, gt=0, description="peak learning rate; never scaled by batch or world size")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum; beta 1 of adamw")
    beta2: float = Field(0.999, ge=0, lt=1, description="beta 2 of adamw")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    schedule: Literal["cosine", "cosine_epoch", "step", "exponential", "constant"] = Field(
        "cosine",
        description="cosine: every step; cosine_epoch: set once an epoch, as the original MoCo; step: times gamma at "
        "each milestone; exponential: times gamma each epoch",
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="linear rise from 0, epochs; cosine and constant only"
    )
    milestones: tuple[float, ...] = Field((120.0, 160.0), description="epochs of the step schedule")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of the step and exponential schedules")
    min_lr: float = Field(0.0, ge=0, description="where the cosine ends")

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if self.warmup_epochs and self.schedule not in ("cosine", "constant"):
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs:g} has no meaning for schedule={self.schedule}: use cosine or constant"
            )
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr={self.min_lr:g} is above lr={self.lr:g}")
        return self

    def lr_at(self, epoch: float, epochs: float) -> float:
        """Learning rate at a position (`epoch` may be a fraction, 0 … `epochs`) of a run of `epochs` epochs."""
        match self.schedule:
            case "cosine":
                return rates.cosine(self.lr, epoch, epochs, warmup=self.warmup_epochs, min_lr=self.min_lr)
            case "cosine_epoch":
                return rates.cosine(self.lr, math.floor(epoch), epochs, min_lr=self.min_lr)
            case "step":
                return rates.multistep(self.lr, math.floor(epoch), self.milestones, gamma=self.gamma)
            case "exponential":
                return rates.exponential(self.lr, epoch, gamma=self.gamma)
            case "constant":
                return rates.constant(self.lr, epoch, warmup=self.warmup_epochs)
