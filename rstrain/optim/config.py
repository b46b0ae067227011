"""OptimConfig: optimiser and schedule of one run. Imports neither torch nor numpy, so `--help` stays instant."""

from __future__ import annotations

import math
from typing import Literal, Self

import pydantic
from pydantic import Field

from rstrain.optim import schedule as rates
from shards.config import Config
from shards.errors import ConfigError


class OptimConfig(Config):
    """How weights move. The defaults are those of MoCo (He et al. 2020) and of geography-aware-ssl."""

    optimizer: Literal["sgd", "adamw", "lars"] = Field(
        "sgd",
        description="sgd decays every parameter, batch norms and biases too, as MoCo does; adamw leaves out tensors "
        "of one dimension, as MAE does; lars leaves them out of decay and of its trust ratio, as VICReg does",
    )
    lr: float = Field(0.03, gt=0, description="peak learning rate, before scale_lr")
    scale_lr: Literal["none", "batch256"] = Field(
        "none", description="batch256: the peak is lr * batch / 256; the log says what it came to"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of sgd and lars; beta 1 of adamw")
    beta2: float = Field(0.999, ge=0, lt=1, description="beta 2 of adamw")
    eta: float = Field(0.001, gt=0, description="trust coefficient of lars")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay")
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="rate of a layer over that of the next one towards the output; ViTs"
    )
    schedule: Literal["cosine", "cosine_epoch", "cosine_restarts", "step", "exponential", "constant"] = Field(
        "cosine",
        description="cosine: every step; cosine_epoch: set once an epoch, as the original MoCo; cosine_restarts: the "
        "same, anew in each of the periods; step: times gamma at each milestone; exponential: times gamma each epoch",
    )
    warmup_epochs: float = Field(
        0.0, ge=0, description="linear rise from 0, epochs; cosine and constant only"
    )
    milestones: tuple[float, ...] = Field((120.0, 160.0), description="epochs of the step schedule")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of the step and exponential schedules")
    periods: tuple[int, ...] = Field(
        (20,), min_length=1, description="epochs of each cosine of cosine_restarts; the last length repeats"
    )
    restart_weights: tuple[float, ...] = Field(
        (1.0,), min_length=1, description="height of each cosine of cosine_restarts; the last repeats"
    )
    min_lr: float = Field(0.0, ge=0, description="where a cosine ends; scale_lr does not touch it")
    min_lr_share: float = Field(
        0.0, ge=0, le=1, description="where a cosine ends, share of the peak; instead of min_lr"
    )

    @pydantic.model_validator(mode="after")
    def _agree(self) -> Self:
        if self.warmup_epochs and self.schedule not in ("cosine", "constant"):
            raise ValueError(
                f"warmup_epochs={self.warmup_epochs:g} has no meaning for schedule={self.schedule}: use cosine or constant"
            )
        if self.min_lr > self.lr and self.scale_lr == "none":
            raise ValueError(f"min_lr={self.min_lr:g} is above lr={self.lr:g}")
        if self.min_lr and self.min_lr_share:
            raise ValueError(
                f"min_lr={self.min_lr:g} and min_lr_share={self.min_lr_share:g} both say where the cosine ends: "
                "give one of them"
            )
        if min(self.periods) < 1:
            raise ValueError(f"periods={self.periods}: expected whole epochs, each 1 or more")
        return self

    def peak(self, batch: int) -> float:
        """Highest learning rate of a run with `batch` samples a step over all ranks.

        Raises:
            ConfigError: scaled to the batch it falls below `min_lr`.
        """
        lr = self.lr * batch / 256 if self.scale_lr == "batch256" else self.lr
        if lr < self.min_lr:
            raise ConfigError(
                f"lr={self.lr:g} at batch={batch} gives a peak of {lr:g} (scale_lr={self.scale_lr}), below "
                f"min_lr={self.min_lr:g}: lower min_lr, or give min_lr_share instead"
            )
        return lr

    def scaling(self, batch: int) -> str | None:
        """What `scale_lr` did, for the log; None when it did nothing."""
        if self.scale_lr == "none":
            return None
        return f"peak learning rate {self.peak(batch):g} = lr {self.lr:g} * batch {batch} / 256"

    def lr_at(self, epoch: float, epochs: float, *, batch: int | None = None) -> float:
        """Learning rate at a position (`epoch` may be a fraction, 0 … `epochs`) of a run of `epochs` epochs.

        Args:
            epoch: samples seen, over samples in an epoch.
            epochs: length of the run.
            batch: samples a step over all ranks; needed where the rate depends on it (`scale_lr`).
        """
        assert batch is not None or self.scale_lr == "none", "scale_lr needs the batch"
        lr = self.lr if batch is None else self.peak(batch)
        end = lr * self.min_lr_share or self.min_lr
        match self.schedule:
            case "cosine":
                return rates.cosine(lr, epoch, epochs, warmup=self.warmup_epochs, min_lr=end)
            case "cosine_epoch":
                return rates.cosine(lr, math.floor(epoch), epochs, min_lr=end)
            case "cosine_restarts":
                return rates.cosine_restarts(
                    lr, math.floor(epoch), self.periods, weights=self.restart_weights, min_lr=end
                )
            case "step":
                return rates.multistep(lr, math.floor(epoch), self.milestones, gamma=self.gamma)
            case "exponential":
                return rates.exponential(lr, epoch, gamma=self.gamma)
            case "constant":
                return rates.constant(lr, epoch, warmup=self.warmup_epochs)
