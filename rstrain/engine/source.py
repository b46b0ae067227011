"""Source: one shard set as a training run reads it: its rows, what stands beside each row, and batches on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rstrain.config import TrainConfig
from rstrain.data.batch import HostBatch, mean_std
from rstrain.data.config import DataConfig
from rstrain.data.geo import GeoLabels, geo_labels
from rstrain.data.loader import StepData
from rstrain.data.opening import opened
from rstrain.data.reading import reading_of
from rstrain.distributed import World
from rstrain.methods.base import Batch
from rstrain.methods.config import VIEWS, Pairing
from shards.dataset import DatasetInfo
from shards.errors import ConfigError
from shards.index import Index


@dataclass(frozen=True)
class Source:
    """The rows of one data set, with the columns that the method asks for."""

    whole: Index
    """Every split."""
    index: Index
    """The split that is trained on."""
    split: str | None
    pairing: Pairing
    plain: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    label: Tensor | None = None
    geo: GeoLabels | None = None
    gsd: Tensor | None = None
    """float32 [rows], metres."""

    @property
    def classes(self) -> int | None:
        """How many classes the data set names."""
        return len(self.whole.info.classes) or None

    @property
    def top_label(self) -> int | None:
        """Largest label of its rows."""
        return None if self.label is None else int(self.label.max())

    @property
    def median_gsd(self) -> float | None:
        """Metres a pixel of its images; None where they do not say."""
        gsd = self.index.column("gsd_m").astype(float)
        known = gsd[gsd > 0]
        return float(np.median(known)) if len(known) else None

    def steps(self, config: TrainConfig, world: World, seed: int) -> StepData:
        """Its batches, by step."""
        data = DataConfig(
            pairs=self.pairing if self.pairing in ("temporal", "seasons") else "self",
            views=VIEWS[self.pairing],
            plain=self.plain,
            workers=config.workers,
        )
        return StepData(
            data,
            config.augment,
            self.index,
            batch=config.batch,
            seed=seed,
            rank=world.rank,
            world=world.world,
            device=world.device.type,
        )

    def batch(self, host: HostBatch, step: int, device: torch.device, *, channels_last: bool) -> Batch:
        """Normalised views and their columns, on the device."""
        views = host.views(self.mean, self.std, device)
        if not channels_last:
            views = tuple(view.contiguous() for view in views)
        rows = host.rows

        def beside(column: Tensor | None) -> Tensor | None:
            return None if column is None else column[rows].to(device)

        zoom = host.zoom.to(device)
        return Batch(
            views=views,
            rows=rows,
            step=step,
            label=beside(self.label),
            geo=beside(None if self.geo is None else torch.from_numpy(self.geo.labels)),
            zoom=zoom,
            gsd=None if self.gsd is None else self.gsd[host.partners].to(device) * zoom,
        )


def credits_of(sets: Sequence[DatasetInfo]) -> dict[str, str]:
    """Name, licence and attribution of the data, as a backbone's header has them."""

    def joined(values: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(value for value in values if value))

    return {
        "dataset_name": joined(info.name for info in sets),
        "licence": joined(info.licence for info in sets),
        "attribution": joined(info.attribution for info in sets),
    }


def open_sources(config: TrainConfig) -> tuple[Source, Source | None]:
    """The data set, and the second one where the method takes two.

    Raises:
        ConfigError: a column that the method needs is missing, or the two sets do not go together.
    """
    method = config.method
    whole, index, split = _rows(config.data, config.split, config)
    if method.pairing in ("temporal", "seasons") and index.places()[1].max(initial=0) <= 1:
        raise ConfigError(
            f"{method.kind} compares dates of one place, and every place of {config.data} has one: build the set with "
            "several dates a place, or choose a method (or its option) that pairs two crops of one image"
        )
    geo = geo_labels(index, config.clusters) if method.needs_geo and config.clusters else None
    mean, std = mean_std(whole.info, config.statistics, whole.reading)
    first = Source(
        whole,
        index,
        split,
        method.pairing,
        method.plain_views,
        mean,
        std,
        label=_labels(index, method.kind) if method.needs_label else None,
        geo=geo,
        gsd=_gsd(index, method.kind) if method.needs_gsd else None,
    )
    if method.second is None:
        return first, None
    assert config.data2 is not None  # TrainConfig has seen to it
    whole, index, split = _rows(config.data2, config.split2, config)
    bands = (len(first.whole.reading.bands), len(whole.reading.bands))
    if bands[0] != bands[1]:
        raise ConfigError(
            f"{config.data2}: has {bands[1]} bands, {config.data} has {bands[0]}; one encoder takes both, so give sets "
            "with the same bands"
        )
    if len(index) < config.batch:
        raise ConfigError(
            f"{config.data2}: has {len(index)} samples, less than a batch of {config.batch}; use a smaller --batch"
        )
    mean, std = mean_std(whole.info, config.statistics, whole.reading)
    second = Source(whole, index, split, method.second, (), mean, std, label=_labels(index, method.kind))
    return first, second


def _rows(where: str, split: str | None, config: TrainConfig) -> tuple[Index, Index, str | None]:
    index = opened(where, config.cache, config.cache_gb)
    index = index.read_as(reading_of(index.info, config.bands, config.stretch))
    split = split or ("train" if "train" in index.info.splits else None)
    return index, index.where(split=split) if split else index, split


def _labels(index: Index, kind: str) -> Tensor:
    column = index.table["label"]
    if column.null_count:
        raise ConfigError(
            f"{index.store}: {column.null_count} of {len(index)} views have no label, and {kind} needs one on each; "
            "give a labelled set, or another split"
        )
    return torch.from_numpy(column.to_numpy().astype("int64"))


def _gsd(index: Index, kind: str) -> Tensor:
    gsd = torch.from_numpy(index.column("gsd_m")).float()
    bad = (~torch.isfinite(gsd) | (gsd <= 0)).nonzero().flatten()
    if len(bad):
        raise ConfigError(
            f"{index.store}: {len(bad)} of {len(index)} views have no GSD above zero (first: "
            f"{index.keys(bad[:1].numpy())[0]}), and {kind} was told to use the true one: use --gsd simulated, or "
            "rebuild the set with its GSD"
        )
    return gsd
