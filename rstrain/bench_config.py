"""BenchConfig: what `rstrain bench` measures. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rstrain.config import TrainConfig, config_for
from rstrain.methods import method_config
from shards.config import Config


class BenchConfig(Config):
    """A training run as it would be, measured for a few steps; options left out are those of `pretrain METHOD`."""

    data: str = Field(description="folder or URL of a finished shard set")
    data2: str | None = Field(None, description="second shard set, for methods that read two")
    clusters: Path | None = Field(None, description="centroids of `rsdata geocluster`; -geo methods")
    cache: Path | None = Field(None, description="folder for shards of a URL")
    cache_gb: float | None = Field(None, gt=0, description="size that it keeps to")
    method: str = Field("moco", description="as `rstrain methods` lists them")
    arch: str | None = Field(None, description="resnet18 … resnet152, or timm:NAME")
    size: int | None = Field(None, ge=8, description="side of a view, pixels")
    batch: int | None = Field(None, gt=0, description="samples a step over all ranks")
    precision: Literal["fp32", "bf16"] | None = Field(None, description="bf16: autocast")
    compile: bool | None = Field(None, description="torch.compile the encoders")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
    workers: int | None = Field(None, ge=0, description="reading processes a rank")
    threads: int | None = Field(None, gt=0, description="CPU threads of torch a rank")
    steps: int = Field(50, gt=0, description="timed steps in each part of each round")
    rounds: int = Field(3, gt=0, description="loader, model and both take turns so often; medians are given")
    peak_tflops: float | None = Field(
        None, gt=0, description="of the device at this precision, for the MFU of one that is not known here"
    )

    def train(self) -> TrainConfig:
        """The run that is measured; its rate is so small that no loss can leave the numbers.

        Raises:
            ConfigError: there is no such method, or the options do not go together.
        """
        method_config(self.method)
        own = {"steps", "rounds", "peak_tflops", "method", "size"}
        values: dict[str, Any] = self.model_dump(exclude=own, exclude_none=True)
        values["optim"] = {"lr": 1e-12}
        if self.size is not None:
            values["augment"] = {"size": self.size}
        return config_for(self.method).build("bench", **values)
