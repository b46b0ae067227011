"""Shards to training batches: whole steps are the items, so order, content and resume know nothing of workers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from rstrain.data.ahead import Ahead
from rstrain.data.augment import Ints, Params, draw
from rstrain.data.batch import HostBatch, empty_pixels
from rstrain.data.config import AugmentConfig, DataConfig
from rstrain.data.pairs import Pairs
from rstrain.data.photometric import apply_exact, apply_worker
from rstrain.data.pixels import Pixels, Reader, crop, shrink_of
from rstrain.data.workers import read_ahead
from shards.errors import ConfigError
from shards.index import Index
from shards.order import Order


class StepData:
    """`data[step]` is one rank's batch of that step: a pure function of (configs, index, seed, step, rank, world).

    Sample i of a step is the same at any world size; the ranks' batches end to end are the step.
    """

    def __init__(
        self,
        config: DataConfig,
        augment: AugmentConfig,
        index: Index,
        *,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: str = "cpu",
    ) -> None:
        self.order = Order(len(index), seed, config.block, config.window)
        self.pairs = Pairs(index, config.pairs, seed)
        self.order.step(0, batch, rank, world)  # a batch that does not divide fails here, not in a worker
        self._reader = Reader(index)
        self._augment, self._plain = augment, config.plain
        self._views, self._batch, self._seed, self._rank, self._world = config.views, batch, seed, rank, world
        self._on_device = augment.on_device(device)
        self._exact = augment.color == "exact"
        self._ahead = Ahead(index, index.cache, self.order, batch) if index.cache is not None else None
        self.second: StepData | None = None
        """Read beside this one in every step."""
        if self._exact and self._reader.bands != 3:
            raise ConfigError(
                f"color=exact is for RGB, but {index.store} has {self._reader.bands} bands: use color=folded"
            )
        if self._exact and self._reader.dtype != np.uint8:
            raise ConfigError("color=exact works on 8-bit levels: use stretch=sigma or seco, or color=folded")

    def __getitem__(self, step: int) -> HostBatch:
        """Read, cut and (unless the device does it) colour the views of a step."""
        if self._ahead is not None:
            self._ahead.at(step)
        epoch, query = self.order.at(self.order.step(step, self._batch, self._rank, self._world))
        rows = self.pairs.rows(epoch, query, self._views)
        params = draw(
            self._augment,
            self._seed,
            epoch,
            query,
            np.arange(self._views)[:, None],
            height=self._reader.height[rows],
            width=self._reader.width[rows],
            plain=self._plain,
        )
        folded, size = params.folded(self._reader.bands), self._augment.size
        pixels = empty_pixels(*rows.shape, size, size, self._reader.bands, dtype=self._reader.dtype)
        if self._exact:
            self._fill_exact(pixels.numpy(), rows, params)
        else:
            self._fill(pixels.numpy(), rows, params.cuts(), None if self._on_device else folded)
        return HostBatch(
            step=step,
            pixels=pixels.permute(0, 1, 4, 2, 3),
            rows=torch.from_numpy(query),
            partners=torch.from_numpy(rows),
            epoch=torch.from_numpy(epoch),
            zoom=torch.from_numpy(params.zoom(self._reader.width[rows], size)),
            color=torch.from_numpy(folded) if self._on_device else None,
            second=None if self.second is None else self.second[step],
        )

    def _fill(
        self, out: Pixels, rows: Ints, cuts: NDArray[np.object_], folded: NDArray[np.float32] | None
    ) -> None:
        size = self._augment.size
        for row, places in _decodes(rows):
            height, width = int(self._reader.height[row]), int(self._reader.width[row])
            shrink = min(shrink_of(cuts[at], height, width, size) for at in places)
            image = self._reader.read(row, shrink)
            for at in places:
                view = crop(image, cuts[at], size)
                out[at] = view if folded is None else apply_worker(view, folded[at])

    def _fill_exact(self, out: Pixels, rows: Ints, params: Params) -> None:
        for row, places in _decodes(rows):
            image = self._reader.read(row)
            for at in places:
                out[at] = exact_view(image, params[at], self._augment)


def _decodes(rows: Ints) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Each image of each sample once, with the (view, sample) places that it serves; rows [V, B]."""
    for sample, column in enumerate(rows.T.tolist()):
        for row in dict.fromkeys(column):
            yield row, [(view, sample) for view, other in enumerate(column) if other == row]


def exact_view(pixels: Pixels, view: Params, config: AugmentConfig) -> Pixels:
    """A view as the original scripts make it: torchvision and PIL, one operation after the other."""
    from PIL import Image
    from torchvision.transforms import functional as F

    image = Image.fromarray(pixels)
    if config.resize:
        image = F.resize(image, config.resize)
    top, left = int(view.frame_top + view.top), int(view.frame_left + view.left)
    box = (top, left, int(view.height), int(view.width))
    image = F.resized_crop(image, *box, [config.size, config.size])
    image = apply_exact(image, view)
    if view.hflip:
        image = F.hflip(image)
    if view.vflip:
        image = F.vflip(image)
    return np.ascontiguousarray(np.rot90(np.asarray(image), int(view.turns)))


def loader(
    config: DataConfig,
    augment: AugmentConfig,
    index: Index,
    *,
    batch: int,
    seed: int,
    stop: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    workers: int | None = None,
    device: str = "cpu",
) -> Iterator[HostBatch]:
    """The batches of steps `start` … `stop`-1 for one rank, read ahead by `workers` processes.

    Args:
        config: how to read.
        augment: random views.
        index: the rows to train on.
        batch: samples in a step over all ranks.
        seed: of order, partners and views.
        start: step to begin with; resuming is starting here.
        stop: step to end before.
        rank: which part of each step.
        world: how many parts.
        workers: overrides `config.workers`.
        device: where training runs; a GPU gets pinned memory and, by default, the colour operations.

    Raises:
        ConfigError: no rows, or a batch that does not divide by the ranks.
        ShardError: a damaged sample, when its step comes.
        ImageError: a sample that does not decode.
        LoaderError: a worker was killed.
    """
    data = StepData(config, augment, index, batch=batch, seed=seed, rank=rank, world=world, device=device)
    workers = config.workers if workers is None else workers
    pin = device.startswith("cuda")
    return read_ahead(data, start, stop, workers=workers, prefetch=config.prefetch, pin=pin)
