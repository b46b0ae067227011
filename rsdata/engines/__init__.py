"""Engines: they hand out tasks and call `run_task`, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shards.errors import ConfigError
from shards.machine import cores
from shards.store import Store

ENTRY = "rsdata.task:run_task"
ENGINES = ("local", "dask", "slurm")


def run_tasks(
    store: Store,
    tasks: Sequence[int],
    *,
    engine: str = "local",
    workers: int | None = None,
    address: str | None = None,
    sbatch: Sequence[str] = (),
    on_progress: Callable[[int], None] = lambda items: None,
) -> str | None:
    """Run every task once; slurm: write the jobs that will.

    Args:
        store: folder with plan.parquet.
        tasks: numbers of the shards to make.
        engine: `local`, `dask` or `slurm`.
        workers: processes; None is one a core, 0 runs in this process (the only way for memory:// folders). Of slurm:
            array elements at once, None as many as Slurm lets.
        address: of the scheduler of dask; None starts one on this machine.
        sbatch: slurm: options of sbatch.
        on_progress: told how many items of these tasks are behind us.

    Returns:
        The command that submits the tasks, where this is not done yet; else None.

    Raises:
        ConfigError: an engine or an option that cannot be used.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r} is not known; known: {', '.join(ENGINES)}")
    if address is not None and engine != "dask":
        raise ConfigError(
            f"--address names a scheduler of --engine dask; the {engine} engine has none: leave it out"
        )
    if sbatch and engine != "slurm":
        raise ConfigError(f"--sbatch is of --engine slurm, not of {engine}: leave it out")
    if workers is not None and workers < 0:
        raise ConfigError(f"workers={workers}: give 0 (in this process) or more")
    if engine == "slurm":
        from rsdata.engines import slurm

        return slurm.write(store, tasks, at_once=workers, options=sbatch)
    inside = store.url.startswith("memory://")
    if engine == "dask":
        if inside or workers == 0:
            raise ConfigError(
                "--engine dask runs in other processes; leave it out for --workers 0 and memory://"
            )
        if address is not None and workers is not None:
            raise ConfigError(
                "--workers: the scheduler has the workers it has; leave it out beside --address"
            )
        _dask().run(store.url, tasks, address=address, workers=workers or cores(), on_progress=on_progress)
    elif workers == 0 or inside:
        from rsdata.engines import inline

        inline.run(store, tasks, on_progress=on_progress)
    else:
        from rsdata.engines import local

        count = min(workers or cores(), len(tasks))
        local.run(store.url, tasks, workers=count, on_progress=on_progress)
    return None


def _dask() -> Any:
    try:
        from rsdata.engines import dask
    except ModuleNotFoundError as error:
        if error.name not in ("dask", "distributed"):
            raise
        raise ConfigError(
            "--engine dask needs the extra dask; install it: pip install 'rspretrain[dask]'"
        ) from None
    return dask
