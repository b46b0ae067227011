"""Status: how far a folder is, from the markers of its tasks alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsdata.finish import read_failures
from rsdata.plan import Plan
from rsdata.task import FOLDER, Task, marker_name, read_task
from shards.dataset import DatasetInfo, read_info
from shards.errors import ShardError
from shards.failures import Failure, FailureClass
from shards.store import Store

DATASET = "dataset.json"
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
    next: str | None = None
    """What to do now, where others carry the plan out."""

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
        if self.next:
            lines.append(f"next: {self.next}")
        elif self.shards_done == self.shards and self.failed.get(FailureClass.TRANSIENT):
            lines.append(f"next: rsdata retry {self.out}")
        elif not self.finished:
            lines.append(f"next: rsdata build {self.out}")
        else:
            lines.append(f"next: rsdata verify {self.out}")
        return "\n".join(lines)


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
    info = finished(plan)
    tasks = tasks_of(plan)
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


def tasks_of(plan: Plan) -> list[Task | None]:
    """The marker of each task."""
    there = set(plan.store.names(FOLDER))
    return [
        read_task(plan.store, k, plan.info.plan_digest) if marker_name(k).rsplit("/", 1)[1] in there else None
        for k in range(len(plan.info.shards))
    ]


def finished(plan: Plan) -> DatasetInfo | None:
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
