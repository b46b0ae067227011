"""One task after the other in this process: for debuggers, and for folders that live in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rsdata.task import run_task
from shards.store import Store


def run(store: Store, tasks: Sequence[int], *, on_progress: Callable[[int], None]) -> None:
    """Run the tasks in order."""
    behind = last = 0

    def at(position: int) -> None:
        nonlocal last
        last = position
        on_progress(behind + position)

    for k in tasks:
        run_task(store, k, at=at)
        behind += last
