"""Build: carry a plan out, go on after any interruption, try failures again."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rsdata.engines import run_tasks
from rsdata.finish import finish
from rsdata.plan import Plan
from rsdata.status import DATASET, Status, finished, status, tasks_of
from rsdata.task import FOLDER, Task, marker_name, read_task, usable
from shards.console import progress, say
from shards.errors import ConfigError, ShardError
from shards.failures import FailureClass
from shards.store import Store

_LOCK = f"{FOLDER}/.lock"


def build(
    out: str | Path,
    *,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    submit: bool = False,
    sbatch: Sequence[str] = (),
    limit: int | None = None,
) -> Status:
    """Make every shard of a plan that is not there yet, then finish the set.

    The final bytes depend on the plan alone, not on workers, engine or interruptions.

    Args:
        out: folder or URL with plan.parquet.
        workers: processes; None is one a core, 0 runs in this process. Of slurm: array elements at once.
        engine: `local`; `dask`; `slurm`, which leaves the shards to jobs and answers at once.
        address: of the scheduler of dask.
        submit: slurm: submit the jobs, not only write them.
        sbatch: slurm: options of sbatch.
        limit: make only the shards that hold the first `limit` items and leave the set unfinished.

    Raises:
        UserError: no plan, another build is at work here, a full disk, or all items failed.
    """
    if submit and engine != "slurm":
        raise ConfigError(f"--submit is of --engine slurm, not of {engine}: leave it out")
    store = Store.of(out)
    plan = Plan.open(store)
    with _alone(store):
        if finished(plan) is not None:
            return status(store)
        start = time.monotonic()
        tasks = tasks_of(plan)
        wanted = _first(plan, limit)
        missing = [k for k in wanted if not usable(store, tasks[k])]
        later = None
        if missing:
            plan.source().ready()
            store.remove(DATASET)
            _sweep(store)
            counts = [shard.rows for shard in plan.info.shards]
            behind = sum(counts[k] for k in wanted) - sum(counts[k] for k in missing)
            try:
                total = sum(counts[k] for k in wanted)
                with progress(f"build {plan.info.name}", total, "items", behind) as shown:
                    later = run_tasks(
                        store,
                        missing,
                        engine=engine,
                        workers=workers,
                        address=address,
                        sbatch=sbatch,
                        on_progress=lambda items: shown.advance(behind + items - shown.done),
                    )
            finally:
                _sweep(store)
        done = [task for task in tasks_of(plan) if task is not None and task.done]
        if len(done) == len(plan.info.shards):
            finish(plan, done)
        report = status(store, seconds=time.monotonic() - start)
    if later is not None and submit:
        from rsdata.engines.slurm import submit as submit_jobs

        later = submit_jobs(store)
    return replace(report, next=later)


def run_task(out: str | Path, k: int, *, of: int | None = None, workers: int | None = None) -> dict[str, Any]:
    """Make one shard of a plan, or every `of`th from it on; those that are there are left.

    Any number of these may be at work in a folder at once, but no build beside them.

    Args:
        out: folder or URL with plan.parquet.
        k: number of the shard, from 0.
        of: step to the next one; None is this one alone.
        workers: processes; None is one a core.

    Returns:
        `shards`: numbers of those asked for; `made`: of those made now; `items` and `failed` of all of them.

    Raises:
        UserError: there is no such shard; as `build`.
    """
    store = Store.of(out)
    plan = Plan.open(store)
    count = len(plan.info.shards)
    if not 0 <= k < count or (of is not None and of <= k):
        most = f"; with --of {of} it is below that" if of is not None and of <= k < count else ""
        raise ConfigError(f"task {k}: {store} has the shards 0 to {count - 1:,}{most}")
    wanted = range(k, count, of) if of else range(k, k + 1)
    digest = plan.info.plan_digest
    with _alone(store, among_tasks=True):
        missing = [j for j in wanted if not usable(store, read_task(store, j, digest))]
        if missing:
            plan.source().ready()
            run_tasks(store, missing, workers=workers)
    done = [task for j in wanted if (task := read_task(store, j, digest)) is not None]
    return {
        "out": str(store),
        "shards": list(wanted),
        "made": missing,
        "items": sum(plan.info.shards[j].items for j in wanted),
        "failed": sum(sum(task.failed.values()) for task in done),
    }


def retry(
    out: str | Path,
    *,
    all: bool = False,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    submit: bool = False,
    sbatch: Sequence[str] = (),
) -> Status:
    """Make the shards with transient failures again (with `all`: with any failure), and what is missing.

    Raises:
        UserError: as `build`.
    """
    store = Store.of(out)
    plan = Plan.open(store)
    with _alone(store):
        tasks = tasks_of(plan)
        again = [
            (k, task)
            for k, task in enumerate(tasks)
            if task is not None
            and task.done
            and (task.failed if all else FailureClass.TRANSIENT in task.failed)
        ]
        if again:
            store.remove(DATASET)
        for k, task in again:
            marker = Task(plan=task.plan, done=False, attempt=task.attempt + 1)
            store.write(marker_name(k), json.dumps(marker.model_dump(mode="json")).encode())
    left = sum(sum(task.failed.values()) for task in tasks if task is not None)
    if not again and left:
        say(
            f"{store}: none of {left:,} failures is transient; to try all of them: rsdata retry {store} --all"
        )
    return build(out, workers=workers, engine=engine, address=address, submit=submit, sbatch=sbatch)


def _first(plan: Plan, limit: int | None) -> list[int]:
    """The shards that hold the first `limit` items."""
    wanted, items = [], 0
    for k, shard in enumerate(plan.info.shards):
        if limit is None or items < limit:
            wanted.append(k)
        items += shard.items
    return wanted


def _sweep(store: Store) -> None:
    for folder in ("", FOLDER):
        store.sweep(folder)


@contextmanager
def _alone(store: Store, *, among_tasks: bool = False) -> Iterator[None]:
    """Hold the folder's lock; an object store has none, there the user must see to it.

    `among_tasks` is alone among other `run_task`s: it keeps builds out and is kept out by them.

    Raises:
        ConfigError: another build is at work.
    """
    if store.local is None:
        yield
        return
    path = store.local / _LOCK
    try:
        path.parent.mkdir(exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ShardError(f"{store}: cannot be written ({error.strerror}); choose another folder") from None
    with file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if among_tasks else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            who = file.read().strip() or "another process"
            raise ConfigError(
                f"{store}: another build is at work here ({who}); wait for it, or stop it and run this again"
            ) from None
        if among_tasks:
            yield
            return
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
