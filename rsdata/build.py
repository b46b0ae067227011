"""Build: carry a plan out, go on after any interruption, say what is done, try failures again."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsdata.engines import run_tasks
from rsdata.finish import finish, read_failures
from rsdata.plan import Plan
from rsdata.task import FOLDER, Task, marker_name, read_task
from shards.console import progress, say
from shards.dataset import DatasetInfo, read_info
from shards.errors import ConfigError, ShardError
from shards.failures import Failure, FailureClass
from shards.store import Store

DATASET = "dataset.json"
_LOCK = f"{FOLDER}/.lock"
LISTED = 5
"""Failures that a report names."""


@dataclass(frozen=True)
class Status:
    """How far a folder is; the answer of `build`, `retry` and `status`."""

    out: str
    name: str
    finished: bool
    items: int
    reserves: int
    """Planned, to stand in for items that the archive does not have."""
    reserves_tried: int
    shards: int
    shards_done: int
    samples: int
    views: int
    bytes: int
    failed: dict[str, int]
    """Failures of each class; each failed view of a place counts."""
    first_failures: list[dict[str, Any]]
    fingerprint: str | None
    seconds: float | None = None
    """Of this build; None where nothing was left to do."""

    @property
    def failures(self) -> int:
        """Failures of any class."""
        return sum(self.failed.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """A few lines for people; the last names the next step."""
        state = "finished" if self.finished else f"{self.shards_done:,} of {self.shards:,} shards done"
        lines = [
            f"{self.out}: {state}: {self.samples:,} samples, {self.views:,} views, {self.bytes / 1e6:,.1f} MB "
            f"of {self.items:,} planned items"
        ]
        if self.reserves:
            lines[0] += f", {self.reserves_tried:,} of {self.reserves:,} reserves tried"
        if self.seconds:
            lines[0] += f", {self.seconds:,.1f} s"
        if self.failures:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in self.failed.items())
            lines.append(f"failed: {kinds}")
            lines += [f"  {f['item']}: {f['class']}: {f['reason']}" for f in self.first_failures]
            if self.failures > len(self.first_failures):
                lines.append(f"  … all of them: rsdata status {self.out} --all")
        if self.shards_done == self.shards and self.failed.get(FailureClass.TRANSIENT):
            lines.append(f"next: rsdata retry {self.out}")
        elif not self.finished:
            lines.append(f"next: rsdata build {self.out}")
        else:
            lines.append(f"next: rsdata verify {self.out}")
        return "\n".join(lines)


def build(
    out: str | Path,
    *,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    limit: int | None = None,
) -> Status:
    """Make every shard of a plan that is not there yet, then finish the set.

    The final bytes depend on the plan alone, not on workers, engine or interruptions.

    Args:
        out: folder or URL with plan.parquet.
        workers: processes; None is one a core, 0 runs in this process.
        engine: `local`.
        address: of a scheduler, for engines that have one.
        limit: make only the shards that hold the first `limit` items and leave the set unfinished.

    Raises:
        UserError: no plan, another build is at work here, a full disk, or all items failed.
    """
    store = Store.of(out)
    plan = Plan.open(store)
    with _alone(store):
        if _finished(plan) is not None:
            return status(store)
        start = time.monotonic()
        tasks = _tasks(plan)
        wanted = _first(plan, limit)
        missing = [k for k in wanted if not _usable(store, tasks[k])]
        if missing:
            plan.source().ready()
            store.remove(DATASET)
            _sweep(store)
            counts = [shard.rows for shard in plan.info.shards]
            behind = sum(counts[k] for k in wanted) - sum(counts[k] for k in missing)
            try:
                total = sum(counts[k] for k in wanted)
                with progress(f"build {plan.info.name}", total, "items", behind) as shown:
                    run_tasks(
                        store,
                        missing,
                        engine=engine,
                        workers=workers,
                        address=address,
                        on_progress=lambda items: shown.advance(behind + items - shown.done),
                    )
            finally:
                _sweep(store)
        done = [task for task in _tasks(plan) if task is not None and task.done]
        if len(done) == len(plan.info.shards):
            finish(plan, done)
        return status(store, seconds=time.monotonic() - start)


def status(out: str | Path | Store, *, listed: int | None = LISTED, seconds: float | None = None) -> Status:
    """What is done, left and failed; changes nothing.

    Args:
        out: folder or URL with plan.parquet.
        listed: failures to read at the most; None reads all.
        seconds: that a build took, for its report.

    Raises:
        ConfigError: the folder has no plan.
    """
    store = Store.of(out)
    plan = Plan.open(store)
    info = _finished(plan)
    tasks = _tasks(plan)
    done = [k for k, task in enumerate(tasks) if task is not None and task.done]
    made = [task.shard for task in tasks if task and task.done and task.shard is not None]
    failed: Counter[str] = Counter()
    for task in tasks:
        failed.update(task.failed if task and task.done else {})
    first: list[Failure] = []
    for k in done:
        if listed is not None and len(first) >= listed:
            break
        task = tasks[k]
        first += read_failures(store, [k]) if task and task.failed else []
    shards = info.shards if info else made
    return Status(
        out=str(store),
        name=plan.info.name,
        finished=info is not None,
        items=plan.info.items,
        reserves=plan.info.reserves,
        reserves_tried=sum(task.reserves for task in tasks if task and task.done),
        shards=len(plan.info.shards),
        shards_done=len(done),
        samples=sum(shard.samples for shard in shards),
        views=sum(shard.views for shard in shards),
        bytes=sum(shard.bytes for shard in shards),
        failed=dict(sorted(failed.items())),
        first_failures=[{"item": f.item, "class": str(f.kind), "reason": f.reason} for f in first[:listed]],
        fingerprint=info.fingerprint if info else None,
        seconds=seconds,
    )


def retry(
    out: str | Path,
    *,
    all: bool = False,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
) -> Status:
    """Make the shards with transient failures again (with `all`: with any failure), and what is missing.

    Raises:
        UserError: as `build`.
    """
    store = Store.of(out)
    plan = Plan.open(store)
    with _alone(store):
        tasks = _tasks(plan)
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
    return build(out, workers=workers, engine=engine, address=address)


def _tasks(plan: Plan) -> list[Task | None]:
    """The marker of each task."""
    there = set(plan.store.names(FOLDER))
    return [
        read_task(plan.store, k, plan.info.plan_digest) if marker_name(k).rsplit("/", 1)[1] in there else None
        for k in range(len(plan.info.shards))
    ]


def _usable(store: Store, task: Task | None) -> bool:
    """Whether a task is done and its tar still lies there with its size."""
    if task is None or not task.done:
        return False
    shard = task.shard
    return shard is None or (store.exists(shard.name) and store.size(shard.name) == shard.bytes)


def _finished(plan: Plan) -> DatasetInfo | None:
    """dataset.json, where it is there and all its tars are.

    Raises:
        ShardError: it was made from another plan.
    """
    store = plan.store
    if not store.exists(DATASET):
        return None
    info = read_info(store)
    if info.plan_digest != plan.info.plan_digest:
        raise ShardError(
            f"{store}: {DATASET} was not made from this {plan.store.path('plan.parquet')}\n"
            "  One of the two was copied here; plan into an empty folder."
        )
    whole = all(store.exists(s.name) and store.size(s.name) == s.bytes for s in info.shards)
    return info if whole else None


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
def _alone(store: Store) -> Iterator[None]:
    """Hold the folder's lock; an object store has none, there the user must see to it.

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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            who = file.read().strip() or "another process"
            raise ConfigError(
                f"{store}: another build is at work here ({who}); wait for it, or stop it and run this again"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
