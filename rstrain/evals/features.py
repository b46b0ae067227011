"""Features of a frozen backbone over the rows of an index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rstrain import distributed
from rstrain.data.batch import normalise
from shards.console import progress
from shards.index import Index


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients for the length of a block; each submodule gets its own mode back."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for m, mode in modes:
            m.training = mode


def extract(
    backbone: nn.Module,
    index: Index,
    rows: NDArray[np.int64],
    *,
    mean: Sequence[float],
    std: Sequence[float],
    size: int,
    batch: int = 256,
    workers: int | None = 0,
    device: str | torch.device = "cpu",
    amp: bool = False,
    resize: Literal["crop", "squash"] = "crop",
    res: NDArray[np.float32] | None = None,
    crop_epoch: int | None = None,
    seed: int = 0,
    title: str = "",
) -> Tensor:
    """float32 [N, F] on `device`, in the order of `rows`; the same for any batch size and number of workers.

    Under torchrun every rank must call it: each reads a contiguous part of the rows, and all get the whole.

    Args:
        backbone: images [B, C, S, S] -> [B, F]; its weights, buffers and training flags stay as they are.
        index: where the pixels are.
        rows: int64 [N], at least one.
        mean: subtracted from each band, 0 … 255.
        std: divided by, 0 … 255.
        size: side of the input, pixels.
        batch: images at a time.
        workers: processes that decode; None for as many as there are cores, at most 8.
        device: where the backbone is.
        amp: bfloat16 autocast.
        resize: short side to `size` and the centre, or both sides squashed to it.
        res: [N], the resolution that a gsd: model is told of each row.
        crop_epoch: take random crops addressed by (seed, this epoch, row) instead of the centre.
        seed: of the random crops.
        title: of the progress bar; none when empty.
    """
    rank, world = distributed.rank(), distributed.world_size()
    share = -(-len(rows) // world)
    own = rows[rank * share : (rank + 1) * share]
    device = torch.device(device)
    parts: list[Tensor] = []
    with (
        frozen(backbone),
        torch.random.fork_rng(devices=[]),  # a DataLoader draws a number when it starts its workers
        shown(title if rank == 0 else "", len(own)) as advance,
        torch.autocast(device.type, torch.bfloat16, enabled=amp),
    ):
        at = rank * share
        for pixels in _batches(index, own, size, batch, workers, resize, crop_epoch, seed, device):
            told = () if res is None else (torch.from_numpy(res[at : at + len(pixels)]).to(device),)
            images = normalise(pixels.to(device, non_blocking=True), mean, std)
            parts.append(backbone(images, *told).float())
            at += len(pixels)
            advance(len(pixels))
    if world == 1:
        return torch.cat(parts)
    return _joined(parts, share, len(rows), device)


def _batches(
    index: Index,
    rows: NDArray[np.int64],
    size: int,
    batch: int,
    workers: int | None,
    resize: Literal["crop", "squash"],
    crop_epoch: int | None,
    seed: int,
    device: torch.device,
) -> Iterator[Tensor]:
    from rstrain.data.evaluation import eval_loader

    if not len(rows):
        return
    loader = eval_loader(
        index,
        rows,
        size=size,
        batch=batch,
        workers=workers,
        resize=resize,
        random_crop=crop_epoch is not None,
        epoch=crop_epoch or 0,
        seed=seed,
        device=str(device),
    )
    at = 0
    for pixels, got in loader:
        assert np.array_equal(got.numpy(), rows[at : at + len(got)]), "the loader changed the order of rows"
        at += len(got)
        yield pixels
    assert at == len(rows), "the loader left rows out"


def _joined(parts: list[Tensor], share: int, total: int, device: torch.device) -> Tensor:
    """Parts of all ranks in the order of rows; a rank that has none learns the width from the others."""
    width = torch.tensor([parts[0].shape[1] if parts else 0], device=device)
    width = distributed.gather(width).max()
    padded = torch.zeros(share, int(width), device=device)
    if parts:
        own = torch.cat(parts)
        padded[: len(own)] = own
    return distributed.gather(padded)[:total]


@contextmanager
def shown(title: str, total: int, unit: str = "views", *, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Progress under a title, or none without one."""
    if not title:
        yield lambda count: None
        return
    with progress(title, total, unit, done) as bar:
        yield bar.advance
