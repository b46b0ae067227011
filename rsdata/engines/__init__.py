"""Engines: they hand out tasks and call `run_task`, nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from shards.errors import ConfigError
from shards.store import Store

ENTRY = "rsdata.task:run_task"


def run_tasks(
    store: Store,
    tasks: Sequence[int],
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    on_progress: Callable[[int], None] = lambda items: None,
) -> None:
    """Run every task once.

    Args:
        store: folder with plan.parquet.
        tasks: numbers of the shards to make.
        engine: only `local` is in this version.
        workers: processes; None is one a core, 0 runs in this process (the only way for memory:// folders).
        address: of a scheduler; the local engine has none.
        on_progress: told how many items of these tasks are behind us.

    Raises:
        ConfigError: an engine or an address that cannot be used.
    """
    if engine in ("dask", "slurm"):
        raise ConfigError(
            f"engine {engine!r} will come with the extra 'rspretrain[{engine}]' and is not in this version; "
            "leave out --engine to use every core of this machine"
        )
    if engine != "local":
        raise ConfigError(f"engine {engine!r} is not known; known: local (dask and slurm are to come)")
    if address is not None:
        raise ConfigError(
            "--address names a scheduler of --engine dask; the local engine has none: leave it out"
        )
    if workers is not None and workers < 0:
        raise ConfigError(f"workers={workers}: give 0 (in this process) or more")
    if workers == 0 or store.url.startswith("memory://"):
        from rsdata.engines import inline

        inline.run(store, tasks, on_progress=on_progress)
    else:
        from rsdata.engines import local

        count = min(workers or cores(), len(tasks))
        local.run(store.url, tasks, workers=count, on_progress=on_progress)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
