"""TrainConfig: one pretraining run, written to its folder before the first step. Imports no torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import Field

from rstrain.data.config import AugmentConfig
from rstrain.methods import MethodConfig, MoCoConfig, method_kinds
from rstrain.optim.config import OptimConfig
from shards.config import Config, read_toml
from shards.errors import ConfigError

PLACE_ONLY = frozenset(
    {
        "data",
        "data2",
        "clusters",
        "cache",
        "cache_gb",
        "device",
        "workers",
        "threads",
        "stall_s",
        "save_minutes",
        "keep",
        "wandb",
    }
)
"""Options that say where and how a run is carried out, and cannot change a single weight: a resume may alter them.

`data`, `data2` and `clusters` may move, what they hold may not. (The number of CPU threads changes rounding, as the machine does.)
"""


class TrainConfig(Config):
    """One pretraining run."""

    method: MethodConfig = Field(default_factory=MoCoConfig)
    data: str = Field(description="folder or URL of a finished shard set (it has dataset.json)")
    split: str | None = Field(
        None, description="split to train on; left out: `train` if the set has one, else all"
    )
    data2: str | None = Field(
        None, description="second shard set, for methods that read two at once (gersp: the labelled photos)"
    )
    split2: str | None = Field(
        None, description="split of --data2; left out: `train` if the set has one, else all"
    )
    cache: Path | None = Field(
        None,
        description="folder for shards of a URL, fetched ahead and kept; left out: read from the URL piece by piece",
    )
    cache_gb: float = Field(
        100, gt=0, description="size that the folder --cache keeps to; the shards read longest ago go first"
    )
    clusters: Path | None = Field(
        None, description="centroids written by `rsdata geocluster` (OUT.json); -geo methods"
    )
    arch: str = Field("resnet50", description="resnet18 … resnet152, or timm:NAME")
    stem: Literal["imagenet", "small"] = Field(
        "imagenet", description="first layers of a ResNet; small: for images under ~100 px"
    )
    epochs: float = Field(200, gt=0, description="how often each sample is read")
    batch: int = Field(256, gt=0, description="samples a step over all ranks")
    accumulate: int = Field(
        1, gt=0, description="parts in which a rank works through its share of the batch, to save memory"
    )
    seed: int = Field(0, ge=0, description="of weights, order, pairs and augmentation")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: autocast; losses and weights stay float32"
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="on several ranks: ddp keeps a copy of the model on each, fsdp a share of it, for models that do not fit",
    )
    channels_last: bool = Field(True, description="memory format of images and convolutions")
    compile: bool = Field(False, description="torch.compile the encoders: slow to start, faster steps")
    log_every: int = Field(
        20, gt=0, description="steps between two lines of metrics.jsonl; values are means since the last"
    )
    knn_every: float = Field(
        0, ge=0, description="epochs between two online kNN scores of the features; 0: never"
    )
    bands: tuple[str, ...] = Field(
        (), description="names of the bands to read, in this order, or rgb; left out: all that the set has"
    )
    stretch: Literal["float", "sigma", "seco"] = Field(
        "float",
        description="numbers wider than 8 bits as levels. float: mean ± 2 std of each band is 0 … 255, nothing cut off; "
        "sigma: the same in 8 bits; seco: the 2 % to 98 % quantiles in 8 bits",
    )
    statistics: Literal["auto", "imagenet", "data"] = Field(
        "auto",
        description="mean and std of each band; auto: ImageNet's for 8-bit RGB, else the data set's own",
    )
    optim: OptimConfig = Field(default_factory=OptimConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
    workers: int | None = Field(
        None, ge=0, description="reading processes a rank; left out: the free cores, at most 8"
    )
    threads: int | None = Field(
        None, gt=0, description="CPU threads of torch a rank; left out: torch's choice"
    )
    stall_s: float = Field(
        300,
        gt=0,
        description="seconds of waiting for one batch after which the stacks of the reading processes are printed",
    )
    save_minutes: float = Field(
        10, gt=0, description="minutes between checkpoints; one is also made on SIGTERM and Ctrl-C"
    )
    keep: int = Field(3, gt=0, description="checkpoints kept")
    wandb: str | None = Field(
        None, description="project of Weights & Biases to log to as well (extra `wandb`)"
    )

    @pydantic.field_validator("bands", mode="before")
    @classmethod
    def _bands(cls, value: Any) -> Any:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list | tuple):
            return value
        return tuple(part.strip() for name in names for part in str(name).split(","))  # --bands B4,B3,B2

    @pydantic.field_validator("method", mode="before")
    @classmethod
    def _method(cls, value: Any) -> Any:
        if isinstance(value, dict):
            own = cls.model_fields["method"].get_default(call_default_factory=True).kind
            kind = value.get("kind", own)
            if kind not in method_kinds():
                raise ValueError(f"unknown method {kind!r}; known: {', '.join(method_kinds())}")
            if cls is not TrainConfig and kind != own:
                raise ValueError(
                    f"kind = {kind!r}, but this is a run of {own}: use `rstrain pretrain {kind}`"
                )
            return method_kinds()[kind](**(value | {"kind": kind}))
        return value

    @pydantic.field_serializer("method")
    def _dump_method(self, method: MethodConfig) -> dict[str, Any]:
        return method.model_dump(mode="json", exclude_none=True)  # fields of the kind, not only of the base

    @pydantic.model_validator(mode="after")
    def _agree(self) -> TrainConfig:
        if self.method.needs_geo and self.clusters is None:
            raise ValueError(
                f"{self.method.kind} needs --clusters: make the centroids with `rsdata geocluster DATA clusters.csv` and "
                "give the clusters.json written beside it"
            )
        if self.optim.warmup_epochs and self.optim.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs={self.optim.warmup_epochs:g} is not shorter than epochs={self.epochs:g}: the learning rate "
                "would never reach its peak; give a shorter --warmup-epochs"
            )
        if self.parallel == "fsdp" and self.optim.optimizer == "lars":
            raise ValueError(
                "parallel=fsdp cuts each weight, and lars needs its whole length: use --parallel ddp or another optimizer"
            )
        if self.method.second is not None and self.data2 is None:
            raise ValueError(f"{self.method.kind} reads two data sets at once: give the second with --data2")
        if self.method.second is None and self.data2 is not None:
            raise ValueError(f"{self.method.kind} reads one data set: leave out --data2")
        return self

    def steps(self, samples: int) -> int:
        """Optimiser steps of the whole run over a split of `samples` views.

        Raises:
            ConfigError: the batch is larger than the split.
        """
        if self.batch > samples:
            raise ConfigError(
                f"batch={self.batch} is larger than the {samples} samples of the split: use a smaller batch"
            )
        return max(1, int(self.epochs * samples) // self.batch)

    @property
    def input_px(self) -> int:
        """Side of the encoder's input, pixels."""
        return self.method.input_px(self.augment.size)

    def weights_matter(self) -> dict[str, Any]:
        """The part of the config on which the weights depend."""
        return {key: value for key, value in self.to_dict().items() if key not in PLACE_ONLY}


@cache
def config_for(kind: str) -> type[TrainConfig]:
    """TrainConfig with the method's own options and its published defaults for the rest."""
    method = method_kinds()[kind]
    defaults = method.model_construct(kind=kind).run_defaults()  # no validator: `--help` comes by here
    fields: dict[str, Any] = {"method": (method, Field(default_factory=lambda: method(kind=kind)))}
    for key, value in defaults.items():
        field = TrainConfig.model_fields[key]
        if isinstance(value, dict):  # a nested config with some defaults of its own
            nested: Any = field.annotation
            inner: dict[str, Any] = {
                name: (nested.model_fields[name].annotation, _with_default(nested, name, v))
                for name, v in value.items()
            }
            own: Any = pydantic.create_model(nested.__name__, __base__=nested, **inner)
            fields[key] = (own, Field(default_factory=own))
        else:
            fields[key] = (field.annotation, _with_default(TrainConfig, key, value))
    made: type[TrainConfig] = pydantic.create_model(
        "TrainConfig", __base__=TrainConfig, __doc__=method.__doc__, **fields
    )
    return made


def _with_default(config: type[Config], name: str, value: Any) -> Any:
    field = config.model_fields[name]
    return pydantic.fields.FieldInfo.merge_field_infos(field, default=value)


def load_config(path: Path) -> TrainConfig:
    """The config of a run folder.

    Raises:
        ConfigError: the file is missing, or of another version.
    """
    values = read_toml(path)
    kind = values.get("method", {}).get("kind", "")
    if kind not in method_kinds():
        raise ConfigError(f"{path}: method.kind = {kind!r} is no method; known: {', '.join(method_kinds())}")
    return config_for(kind).build(str(path), **values)
