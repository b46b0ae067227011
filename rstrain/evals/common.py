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
    train_list: Path | None = Field(
        None,
        description="samples to learn from instead of a split: a text file, one key or path in the archive (or the end "
        "of one: class/file.jpg, file.jpg) a line, as the published lists",
    )
    test_list: Path | None = Field(None, description="samples to score instead of a split; as --train-list")
    split_off: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="for a set without a test split: share of the training split's places that is scored instead of "
        "learnt from; always the same ones (Scale-MAE: 0.1)",
    )
    apart_km: float | None = Field(
        None,
        gt=0,
        le=5000,
        description="with --split-off: places nearer than this to one another, kilometres, stay on one side, so that no "
        "test place has a neighbour that was learnt from",
    )
    pretrained_on: str | None = Field(
        None,
        description="shard set that the checkpoint learnt from: what the test split shares with it, by key, bytes, place "
        "and perceptual hash, is counted in the scores",
    )
    size: int | None = Field(
        None, gt=0, description="side of the input, pixels; that of the training, 224 for `random`"
    )
    cache: Path | None = Field(
        None,
        description="folder for shards of a URL, fetched whole and kept; left out: read from the URL piece by piece",
    )
    cache_gb: float = Field(
        100, gt=0, description="size that the folder --cache keeps to; the shards read longest ago go first"
    )
    workers: int | None = Field(None, ge=0, description="processes that decode; one a core, at most 8")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes the GPU where there is one"
    )
    seed: int = Field(0, description="of a random backbone, of whatever is drawn, and of the interval")
    seeds: int = Field(1, gt=0, description="repeat with seed, seed+1, … and give mean and spread")
