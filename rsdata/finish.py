"""From finished tasks to a finished set: one index, one list of failures, statistics, dataset.json last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rsdata.plan import Plan
from rsdata.task import Task, columns_of, failures_name, index_name
from shards import dataset, index, parquet
from shards.dataset import Band, DatasetInfo, Member
from shards.errors import UserError
from shards.failures import Failure, FailureClass, from_table, to_table
from shards.stats import BandStats, Histogram
from shards.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

FAILURES = "failures.parquet"


def finish(plan: Plan, tasks: list[Task]) -> DatasetInfo:
    """Join what the tasks left, in the order of the plan.

    Raises:
        UserError: not one item made it into the set.
    """
    import pyarrow as pa

    store, source = plan.store, plan.source()
    failures = read_failures(store, range(len(tasks)))
    store.write(FAILURES, parquet.to_bytes(to_table(failures)))
    shards = [task.shard for task in tasks if task.shard is not None]
    if not shards:
        again = any(failure.kind is FailureClass.TRANSIENT for failure in failures)
        raise UserError(
            f"{store}: all {plan.info.items:,} items failed, so there is no set; the first: "
            f"{failures[0].item}: {failures[0].reason}\n  "
            + (f"Try them again: rsdata retry {store}" if again else f"See: rsdata status {store}")
        )
    tables = [_read(store, index_name(k)) for k, task in enumerate(tasks) if task.shard is not None]
    extra = columns_of(source)
    table = pa.concat_tables([index.table_of([], extra), *tables]).combine_chunks()
    members = source.set_members()
    if members is None:
        members = _members(table, [Band(name=name, wavelength_nm=nm) for name, nm in source.bands])
    statistics, of = _statistics(plan, tasks, [band.name for member in members for band in member.bands])
    notes: Counter[str] = Counter()
    for task in tasks:
        notes.update(task.notes)
        notes.update({"reserves tried": task.reserves} if task.reserves else {})
    splits = Counter(table["split"].to_pylist())
    labels = Counter(table["label"].drop_null().to_pylist())
    info = DatasetInfo(
        name=plan.info.name,
        source=source.kind,
        made_by=f"rsdata {_version()}",
        members=members,
        classes=plan.info.classes,
        targets=source.set_targets(plan.info.classes),
        samples=sum(shard.samples for shard in shards),
        views=table.num_rows,
        failed=len(failures),
        splits=dict(sorted(splits.items())),
        labels={plan.info.classes[label]: count for label, count in sorted(labels.items())},
        notes=dict(sorted(notes.items())),
        statistics=statistics,
        statistics_of=of,
        shards=shards,
        index_bytes=0,
        index_sha256="",
        licence=source.set_licence(),
        attribution=source.set_attribution(),
        config=source.identity(),
        plan_digest=plan.info.plan_digest,
    )
    return dataset.finish(store, info, index.to_bytes(table))


def read_failures(store: Store, tasks: Iterable[int]) -> list[Failure]:
    """Failures of finished tasks, in the order of the plan."""
    return [failure for k in tasks for failure in from_table(_read(store, failures_name(k)))]


def _read(store: Store, name: str) -> pa.Table:
    return parquet.read(store.read(name))


def _members(table: pa.Table, bands: list[Band]) -> list[Member]:
    """The kinds of image members, the most frequent first; a side is null where it varies."""
    sizes: dict[str, Counter[tuple[int, int]]] = {}
    columns = (table[name].to_pylist() for name in ("member", "height", "width"))
    for member, height, width in zip(*columns, strict=True):
        sizes.setdefault(member.rsplit(".", 1)[-1], Counter())[height, width] += 1
    members = []
    for ending, seen in sorted(sizes.items(), key=lambda pair: (-pair[1].total(), pair[0])):
        height, width = ({size[axis] for size in seen} for axis in (0, 1))
        shape = (_only(height), _only(width), len(bands))
        members.append(Member(ending=ending, dtype="uint8", shape=shape, bands=bands))
    return members


def _only(values: set[int]) -> int | None:
    return next(iter(values)) if len(values) == 1 else None


def _statistics(plan: Plan, tasks: list[Task], bands: list[str]) -> tuple[list[BandStats], str]:
    """Of the train split, or of everything where no train sample is."""
    histograms = [
        (shard.split, Histogram.load(task.histogram))
        for shard, task in zip(plan.info.shards, tasks, strict=True)
        if task.histogram is not None
    ]
    train = [histogram for split, histogram in histograms if split == "train"]
    total = Histogram.total(train or [histogram for _, histogram in histograms])
    names = list(dict.fromkeys(bands))  # kinds of members that stand for each other have the same bands
    return ([] if total is None else total.stats(names)), "train" if train else "all"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rspretrain")
    except PackageNotFoundError:
        return "unreleased"
