"""Memory of batches, used again: a worker writes where the trainer has finished reading, and only a number travels.

Fresh shared memory for every batch costs a system call, a descriptor sent to the trainer and a page fault every 4 KB on
both sides. Here each worker keeps a few pieces and the trainer's view of each. A piece is free again once nothing in the
trainer refers to the batch that lay in it; who keeps batches gets fresh memory for the next ones.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing import reductions

_MOST = 8
"""Pieces of a worker; a trainer that drops its batches needs two more than are read ahead."""
_numbers = itertools.count()
_desks: dict[int, Desk] = {}
_mine: Ring | None = None


class Desk:
    """The trainer's side: what it sees of the pieces, and flags (shared with the workers) of those in use."""

    def __init__(self, workers: int) -> None:
        self.number = next(_numbers)
        self.busy = torch.zeros(max(workers, 1), _MOST, dtype=torch.uint8).share_memory_()  # type: ignore[no-untyped-call]
        self._seen: dict[tuple[int, int], Tensor] = {}
        _desks[self.number] = self

    def close(self) -> None:
        """Forget the pieces; batches that somebody holds stay as they are."""
        _desks.pop(self.number, None)

    def view(self, worker: int, place: int, new: tuple[Callable[..., Tensor], Any] | None) -> Tensor:
        """The bytes of a piece; when the last tensor over them goes, the worker may write there again."""
        if new is not None:
            rebuild, args = new
            self._seen[worker, place] = rebuild(*args)
        bytes_ = self._seen[worker, place].numpy()
        flags = self.busy.numpy()
        weakref.finalize(bytes_, flags.__setitem__, (worker, place), 0).atexit = False
        return torch.from_numpy(bytes_)


class Ring:
    """A worker's side: its pieces of shared memory."""

    def __init__(self, desk: int, worker: int, busy: Tensor) -> None:
        self._desk, self._worker = desk, worker
        self._busy = busy[worker].numpy()
        self._pieces: list[Tensor] = []
        self._unsent: set[int] = set()

    def take(self, size: int) -> Tensor:
        """Uninitialised bytes in shared memory, uint8 [size]."""
        for place, piece in enumerate(self._pieces):
            if not self._busy[place] and len(piece) >= size:
                return self._use(place, size)
        fresh = _shared(size)
        for place in range(len(self._pieces)):
            if not self._busy[place]:  # too small
                self._pieces[place] = fresh
                self._unsent.add(place)
                return self._use(place, size)
        if len(self._pieces) < _MOST:
            self._pieces.append(fresh)
            self._unsent.add(len(self._pieces) - 1)
            return self._use(len(self._pieces) - 1, size)
        return fresh

    def _use(self, place: int, size: int) -> Tensor:
        self._busy[place] = 1
        return self._pieces[place][:size]

    def reduce(self, tensor: Tensor) -> tuple[Any, ...]:
        """How a tensor travels: by the number of its piece, or as torch sends it."""
        start = tensor.untyped_storage().data_ptr()
        place = next((i for i, piece in enumerate(self._pieces) if piece.data_ptr() == start), None)
        if place is None or not start:
            return reductions.reduce_tensor(tensor)  # type: ignore[no-any-return,no-untyped-call]
        new = None
        if place in self._unsent:
            self._unsent.remove(place)
            new = reductions.reduce_tensor(self._pieces[place])  # type: ignore[no-untyped-call]
        shape = (tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset())
        return _arrive, (self._desk, self._worker, place, new, *shape)


def begin(desk: int, worker: int, busy: Tensor) -> None:
    """In a worker, before its first batch."""
    global _mine
    _mine = ring = Ring(desk, worker, busy)
    ForkingPickler.register(Tensor, ring.reduce)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor; in a worker it lies in shared memory, so that handing it over copies nothing."""
    if _mine is None:
        return torch.empty(shape, dtype=dtype)
    return _mine.take(torch.Size(shape).numel() * dtype.itemsize).view(dtype).view(shape)


def _shared(size: int) -> Tensor:
    storage = torch.UntypedStorage._new_shared(size, device="cpu")  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _arrive(
    desk: int,
    worker: int,
    place: int,
    new: tuple[Callable[..., Tensor], Any] | None,
    dtype: torch.dtype,
    size: torch.Size,
    stride: tuple[int, ...],
    offset: int,
) -> Tensor:
    """A batch's tensor in the trainer."""
    bytes_ = _desks[desk].view(worker, place, new)
    whole = len(bytes_) // dtype.itemsize * dtype.itemsize
    return bytes_[:whole].view(dtype).as_strided(size, stride, offset)
