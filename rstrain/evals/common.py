"""What every evaluation is told: a backbone, data, splits, where to run and where to write. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from shards.config import Config


class CommonConfig(Config):
    """A checkpoint on data."""

    kind: str
    data: str = Field(description="shard set with labels: a folder or a URL")
    checkpoint: str = Field("random", description="backbone.safetensors, a run folder, or `random`")
    out: Path | None = Field(None, description="scores as JSON; RUN/evals/TASK.json for a run folder")
    arch: str | None = Field(None, description="architecture; needed for `random` only")
    stem: Literal["imagenet", "small"] = Field("imagenet", description="first layers of a random ResNet")
    train_split: str = Field("train", description="split that is learnt from")
    test_split: str | None = Field(
        None, description="split that is scored; `test` where there is one, else `val`"
    )
    size: int | None = Field(
        None, gt=0, description="side of the input, pixels; that of the training, 224 for `random`"
    )
    workers: int | None = Field(None, ge=0, description="processes that decode; one a core, at most 8")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes the GPU where there is one"
    )
    seed: int = Field(0, description="of a random backbone, of whatever is drawn, and of the interval")
    seeds: int = Field(1, gt=0, description="repeat with seed, seed+1, … and give mean and spread")
