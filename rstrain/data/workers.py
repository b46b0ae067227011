"""Processes that read ahead: torch's DataLoader, told to pass our errors on plainly and to end with its parent."""

from __future__ import annotations

import atexit
import faulthandler
import os
import signal
import traceback
import weakref
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from rstrain.data import ring
from rstrain.data.watchdog import STACKS, Watchdog
from shards.errors import UserError
from shards.machine import cores

T_co = TypeVar("T_co", covariant=True)


_GRACE_S = 60
"""How long a worker goes on after SIGTERM."""


class LoaderError(UserError):
    """A process that reads was killed."""


class Numbered(Protocol[T_co]):
    """A data set whose items are whole batches."""

    def __getitem__(self, number: int) -> T_co:
        """Batch `number`, the same whoever asks."""
        ...


def default_workers(most: int = 8) -> int:
    """Cores this process may use, at most `most`."""
    return min(cores(), most)


def read_ahead(
    data: Numbered[T_co],
    start: int,
    stop: int,
    *,
    workers: int | None = None,
    prefetch: int = 2,
    pin: bool = False,
    stall_s: float = 300.0,
) -> Iterator[T_co]:
    """Batches `start` … `stop`-1 in order, made by `workers` processes; 0 makes them here.

    A worker ends when its parent does: at once in an orderly end, within seconds after a kill. Where a batch is waited
    for longer than `stall_s` seconds, the stacks of the workers go to stderr.

    Raises:
        UserError: as the data set raised it, without a worker's traceback.
        LoaderError: a worker was killed from outside.
    """
    workers = default_workers() if workers is None else workers
    batches = _batches(data, range(start, stop), workers, prefetch, pin, stall_s)
    atexit.register(_close, weakref.ref(batches))
    return batches


def _close(batches: weakref.ref[Generator[Any]]) -> None:
    """Send the workers home before multiprocessing's own exit, which would wait for them for ever."""
    if (alive := batches()) is not None:
        alive.close()


def _batches(
    data: Numbered[T_co], numbers: range, workers: int, prefetch: int, pin: bool, stall_s: float
) -> Generator[T_co]:
    guarded = _Guarded(data, workers)
    loader: DataLoader[Any] = DataLoader(
        guarded,
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        pin_memory=pin,
        collate_fn=_as_it_is,
        worker_init_fn=_begin,
    )
    batches = iter(loader)
    watchdog = Watchdog(guarded.pids, stall_s)
    try:
        while True:
            death = None
            try:
                with watchdog.waiting():
                    item = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                death = str(error)
            except (ConnectionError, EOFError, FileNotFoundError) as error:
                # it died while it handed memory over, and torch has not seen that yet
                death = f"{type(error).__name__}: {error}"
            # raised here: an error with frames of torch behind it would keep the other workers for a minute
            if death is not None:
                raise LoaderError(_death(death, workers))
            if isinstance(item, UserError):
                raise item
            if isinstance(item, _Failure):
                raise RuntimeError(f"a reading process failed:\n{item.text}")
            yield item
            del item  # the trainer may have dropped it: its memory is the next batch's
    finally:
        watchdog.close()
        del batches  # ends the workers now, though a traceback may keep this frame
        guarded.desk.close()


@dataclass(frozen=True)
class _Failure:
    """What a worker did not foresee."""

    text: str
    """Its traceback."""


class _Guarded(Dataset[Any]):
    """Hands errors over as values: DataLoader would raise them with frames that keep the workers alive."""

    def __init__(self, data: Numbered[Any], workers: int) -> None:
        self._data = data
        self.desk = ring.Desk(workers)
        self.pids = torch.zeros(workers, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __getitem__(self, number: int) -> Any:
        try:
            return self._data[number]
        except UserError as error:
            return error.with_traceback(None)
        except Exception:  # whatever it is, the trainer raises it, with this traceback
            if torch.utils.data.get_worker_info() is None:
                raise
            return _Failure(traceback.format_exc())


def _as_it_is(item: Any) -> Any:
    return item


def _begin(worker: int) -> None:
    """One thread each; a signal to the whole process group is the parent's to answer: it may want to save first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
    faulthandler.register(STACKS, file=2)
    info = torch.utils.data.get_worker_info()
    assert info is not None and isinstance(info.dataset, _Guarded)
    info.dataset.pids[worker] = os.getpid()
    ring.begin(info.dataset.desk.number, worker, info.dataset.desk.busy)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _death(report: str, workers: int) -> str:
    if "Bus error" in report or "shared memory" in report:
        what = "it found no shared memory left (in a container: docker run --shm-size=8g)"
    else:
        what = f"most often the machine ran out of memory ({report.splitlines()[0]})"
    return (
        f"one of {workers} reading processes was killed: {what}\n"
        f"  Use fewer (--workers {max(workers // 2, 0)}) or a smaller batch, and run the same command again."
    )
