"""What engines are given in tests: the real task, with a worker that dies or breaks at one item."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
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


def kills_its_supervisor_at_3(
    out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None], careful: bool = False
) -> Any:
    """As if the kernel killed all processes of a container for memory, at the fourth item of shard 1."""

    def told(position: int) -> None:
        at(position)
        if k == 1 and position == 3 and 3 not in skip:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)

    return run_task(out, k, skip=skip, at=told, careful=careful)


def slow_and_noted(
    out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None], careful: bool = False
) -> Any:
    """A tenth of a second an item; begin and end of each task stand in a file beside the folder."""
    notes = Path(f"{out}.notes")

    def told(position: int) -> None:
        at(position)
        time.sleep(0.1)

    _note(notes, f"begin {k}")
    task = run_task(out, k, skip=skip, at=told, careful=careful)
    _note(notes, f"end {k}")
    return task


def _note(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
