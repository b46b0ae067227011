"""What engines are given in tests: the real task, with a worker that dies or breaks at one item."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from rsdata.task import run_task


def dies_at_3(
    out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None], careful: bool = False
) -> Any:
    """As if the kernel killed us for memory at the fourth item of shard 1."""

    def told(position: int) -> None:
        at(position)
        if k == 1 and position == 3 and 3 not in skip:
            os.kill(os.getpid(), signal.SIGKILL)

    return run_task(out, k, skip=skip, at=told, careful=careful)


def dies_first(
    out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None], careful: bool = False
) -> Any:
    """Never gets anywhere."""
    os._exit(7)


def breaks(
    out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None], careful: bool = False
) -> Any:
    """A bug in shard 1."""
    if k == 1:
        raise ZeroDivisionError("the bug")
    return run_task(out, k, skip=skip, at=at, careful=careful)
