"""A task is a shard: made whole or not at all, as a pure function of the plan. Engines call `run_task`, nothing else."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from rsdata.ahead import in_order
from rsdata.plan import Plan
from rsdata.sources.base import Fetched, FetchError, Item, Source
from shards import parquet
from shards.config import Config
from shards.dataset import Shard, shard_of
from shards.errors import ShardError
from shards.failures import Failure, FailureClass, to_table
from shards.index import PARTS, rows_of, table_of
from shards.sample import View
from shards.stats import Histogram
from shards.store import Store
from shards.writer import ShardWriter, open_shard

FOLDER = "tasks"
_VACANT = {FailureClass.GONE, FailureClass.INVALID}


class Task(Config):
    """The marker of a task, written after everything else of it; without `done` it only counts attempts."""

    plan: str = Field(description="digest of the plan")
    done: bool
    attempt: int = Field(1, description="how often the shard was made on purpose (`retry` adds one)")
    shard: Shard | None = Field(None, description="null where every item failed")
    failed: dict[str, int] = Field(default_factory=dict, description="failures of each class")
    reserves: int = Field(0, description="reserves that were tried, because an item was not to be had")
    notes: dict[str, int] = Field(default_factory=dict, description="counted facts, such as conversions")
    histogram: Any = Field(None, description="`Histogram.dump` of all samples; null where none has pixels")


def marker_name(k: int) -> str:
    """File of the marker."""
    return f"{FOLDER}/{k:06d}.json"


def index_name(k: int) -> str:
    """File of the index rows."""
    return f"{FOLDER}/{k:06d}.index.parquet"


def failures_name(k: int) -> str:
    """File of the failures."""
    return f"{FOLDER}/{k:06d}.failures.parquet"


def mark_name(k: int) -> str:
    """File with the position of the item under work, where a task is made with care for its workers."""
    return f"{FOLDER}/{k:06d}.at"


def read_task(store: Store, k: int, digest: str) -> Task | None:
    """The marker of task `k`; None where there is none, or where it is of another plan."""
    name = marker_name(k)
    if not store.exists(name):
        return None
    try:
        values = json.loads(store.read(name))
    except ValueError:
        raise ShardError(f"{store.path(name)}: is damaged; remove it and run: rsdata build {store}") from None
    task = Task.build(store.path(name), **values)
    return task if task.plan == digest else None


def usable(store: Store, task: Task | None) -> bool:
    """Whether a task is done and its tar still lies there with its size."""
    if task is None or not task.done:
        return False
    shard = task.shard
    return shard is None or (store.exists(shard.name) and store.size(shard.name) == shard.bytes)


def run_task(
    out: str | Path | Store,
    k: int,
    *,
    skip: Mapping[int, str] | None = None,
    at: Callable[[int], None] | None = None,
    careful: bool = False,
) -> Task:
    """Make shard `k`: its tar, index rows and failures, then its marker.

    A reserve follows, after all items, for each item that the archive turned out not to have; one that failed for
    another reason keeps its claim, so that the set depends on the archive and not on the network's mood.

    Args:
        out: folder with plan.parquet.
        k: number of the shard.
        skip: items (by position in the shard) that must not be touched again, and why; they are recorded as failed.
        at: told the position of the oldest item under work; the rows of the shard when only writing is left.
        careful: fetch one item after the other, whatever the source says: whoever dies then is known by its position.
    """
    store = Store.of(out)
    plan = Plan.open(store)
    source, shard, items = plan.source(), plan.info.shards[k], plan.items(k)
    before = read_task(store, k, plan.info.plan_digest)
    attempt = before.attempt if before else 1
    made = _Shard(attempt)
    threads = 1 if careful else source.concurrency()
    with ExitStack() as stack:
        writer: ShardWriter | None = None
        begin, end = 0, shard.items
        while begin < end:
            work = partial(_fetch, source, items, skip or {})
            with in_order(work, range(begin, end), threads) as answers:
                for position in range(begin, end):
                    if at is not None:
                        at(position)
                    fetched = made.take(items[position], next(answers))
                    if fetched is None:
                        continue
                    if writer is None:  # a shard of failures alone leaves no tar
                        writer = stack.enter_context(open_shard(store, shard.name))
                    made.rows += rows_of(shard.name, fetched.sample, writer.write(fetched.sample))
            begin, end = end, min(shard.items + made.vacant, len(items))
        if at is not None:
            at(len(items))
        facts = writer.close() if writer else None
    if facts is None:
        store.remove(shard.name)
    extra = columns_of(source)
    store.write(index_name(k), parquet.to_bytes(table_of(made.rows, extra)))
    store.write(failures_name(k), parquet.to_bytes(to_table(made.failures)))
    task = Task(
        plan=plan.info.plan_digest,
        done=True,
        attempt=attempt,
        shard=shard_of(facts) if facts else None,
        reserves=end - shard.items,
        failed=dict(sorted(Counter(str(f.kind) for f in made.failures).items())),
        notes=dict(sorted(made.notes.items())),
        histogram=made.histogram.dump() if made.histogram else None,
    )
    store.write(marker_name(k), json.dumps(task.model_dump(mode="json")).encode())
    return task


def columns_of(source: Source) -> dict[str, Any]:
    """The source's own columns of the index, with their types."""
    import pyarrow as pa

    lists = {"list<int32>": pa.list_(pa.int32())}  # pyarrow has no names for these
    own = {name: lists.get(kind) or pa.type_for_alias(kind) for name, kind in source.extra_columns.items()}
    return own | ({PARTS: pa.string()} if source.set_members() else {})


class _UntouchedError(FetchError):
    """An item that was not touched: this says nothing of the archive."""


def _fetch(source: Source, items: list[Item], skip: Mapping[int, str], position: int) -> Fetched | FetchError:
    """One item; in any thread."""
    item = items[position]
    try:
        if position in skip:
            raise _UntouchedError(FailureClass.INVALID, skip[position])
        fetched = source.fetch(item)
        for view in fetched.sample.views:
            _check_place(view)
    except FetchError as error:
        return error
    except Exception as error:
        error.add_note(f"while item {item.id!r} was fetched")
        raise
    return fetched


class _Shard:
    """What gathers while a shard is made."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.rows: list[dict[str, Any]] = []
        self.failures: list[Failure] = []
        self.notes: Counter[str] = Counter()
        self.histogram: Histogram | None = None
        self.vacant = 0
        """Items, and reserves too, that the archive does not have."""

    def take(self, item: Item, fetched: Fetched | FetchError) -> Fetched | None:
        """One sample, or None and a failure in the list."""
        if isinstance(fetched, FetchError):
            self._failed(item.id, fetched)
            self.vacant += fetched.kind in _VACANT and not isinstance(fetched, _UntouchedError)
            return None
        for lost in fetched.lost:
            self._failed(lost.id, lost.error)
        self.notes.update(fetched.notes)
        if fetched.histogram is not None:
            parts = [part for part in (self.histogram, fetched.histogram) if part is not None]
            self.histogram = Histogram.total(parts)
        return fetched

    def _failed(self, item: str, error: FetchError) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.failures.append(Failure(item, error.stage, error.kind, error.reason, self.attempt, now))


def _check_place(view: View) -> None:
    if (view.lon is None) != (view.lat is None):
        raise FetchError(FailureClass.INVALID, f"{view.member}: has one coordinate of two", "check")
    if view.lon is None or view.lat is None:
        return
    if not (math.isfinite(view.lon) and math.isfinite(view.lat)):
        raise FetchError(FailureClass.INVALID, f"{view.member}: coordinates are not finite", "check")
    if not (-180 <= view.lon <= 180 and -90 <= view.lat <= 90):
        raise FetchError(
            FailureClass.INVALID,
            f"{view.member}: lon {view.lon:g}, lat {view.lat:g} is off the globe",
            "check",
        )
