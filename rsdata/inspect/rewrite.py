"""New shards from samples of finished sets: bytes are copied, the index is computed anew."""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shards import parquet
from shards.dataset import DatasetInfo, Shard, finish, shard_of
from shards.errors import ShardError, UserError
from shards.failures import SCHEMA
from shards.index import NAME, Index, to_bytes
from shards.sample import Sample, View
from shards.store import Store
from shards.writer import ShardWriter, open_shard

if TYPE_CHECKING:
    import pyarrow as pa

FAILURES = "failures.parquet"


@dataclass(frozen=True)
class Part:
    """One sample on its way into another set."""

    source: int
    """Number of the set it comes from."""
    first: int
    """Its first row in that set's index."""
    views: int
    key: str
    """Its key in the new set."""


@dataclass(frozen=True)
class Input:
    """A set that is read."""

    index: Index
    labels: tuple[int, ...] | None = None
    """New label of each old one; None: unchanged."""


@dataclass
class _Columns:
    shard: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    crc32: list[int] = field(default_factory=list)
    sample_offset: list[int] = field(default_factory=list)
    sample_length: list[int] = field(default_factory=list)
    sample_crc32: list[int] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)


def samples_of(index: Index) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First row and number of rows of each sample, in order."""
    first, count = index.places()
    starts = np.flatnonzero(first == np.arange(len(first)))
    return starts, count[starts]


def empty_output(out: str | Path, mine: Sequence[str]) -> Store:
    """The folder of a new set; what an interrupted run of the same command left may lie in it.

    Raises:
        UserError: a set, or something else, is there already.
    """
    store = Store(out)
    if store.exists("dataset.json"):
        raise UserError(
            f"{store}: there is a finished shard set already; choose another folder, or remove it"
        )
    others = [name for name in store.names() if name not in {*mine, NAME, "wids.json", FAILURES}]
    if store.local is not None and store.local.is_dir():
        others += sorted(entry.name for entry in store.local.iterdir() if entry.is_dir())
    if others:
        raise UserError(f"{store}: is not empty ({others[0]} is there); choose another folder")
    store.make()
    store.sweep()
    return store


def shard_names(
    parts: Sequence[tuple[str, Sequence[Part]]], samples_per_shard: int
) -> list[tuple[str, Sequence[Part]]]:
    """Runs of samples under one prefix, cut into shards: `PREFIX-000000.tar`, …."""
    out: list[tuple[str, Sequence[Part]]] = []
    for prefix, run in parts:
        for number, start in enumerate(range(0, len(run), samples_per_shard)):
            out.append((f"{prefix}-{number:06d}.tar", run[start : start + samples_per_shard]))
    return out


def write_set(
    store: Store, shards: Sequence[tuple[str, Sequence[Part]]], inputs: Sequence[Input], info: DatasetInfo
) -> DatasetInfo:
    """Write the tars, failures.parquet, index and, last, dataset.json; shards, counts and digests of `info` are filled in.

    Raises:
        ShardError: a sample that is read is damaged.
    """
    columns, written, order = _Columns(), [], []
    for name, parts in shards:
        with open_shard(store, name) as writer:
            for part in parts:
                _write(writer, part, inputs[part.source], columns)
                order.append((part.source, part.first, part.views))
            written.append(shard_of(writer.close()))
    table = _table(order, inputs, columns)
    failed = _failures(store, inputs)
    return finish(store, _counted(info, written, table, failed), to_bytes(table))


def _write(writer: ShardWriter, part: Part, source: Input, columns: _Columns) -> None:
    index, rows = source.index, range(part.first, part.first + part.views)
    old = {name: index.table[name][part.first].as_py() for name in ("key", "sample_offset", "sample_crc32")}
    region = index.sample_bytes(part.first)
    if zlib.crc32(region) != old["sample_crc32"]:
        raise ShardError(
            f"{index.store}: sample {old['key']} is damaged (crc differs); run: rsdata verify {index.store}"
        )
    members = [index.table["member"][row].as_py() for row in rows]
    if part.key == old["key"] and source.labels is None:
        start = writer.copy(part.key, region, part.views)
        moved = start - old["sample_offset"]
        columns.offset += [index.table["offset"][row].as_py() + moved for row in rows]
        columns.crc32 += [index.table["crc32"][row].as_py() for row in rows]
        columns.sha256 += [index.table["sha256"][row].as_py() for row in rows]
        columns.length += [index.table["length"][row].as_py() for row in rows]
        length, crc = len(region), old["sample_crc32"]
    else:
        content = _relabelled(_members(region), source.labels)
        views = tuple(View(member=member, width=0, height=0) for member in members)
        place = writer.write(Sample(part.key, content, views))
        start, length, crc = place.offset, place.length, place.crc32
        columns.offset += [place.members[member].offset for member in members]
        columns.crc32 += [place.members[member].crc32 for member in members]
        columns.sha256 += [place.members[member].sha256 for member in members]
        columns.length += [place.members[member].length for member in members]
    columns.shard += [writer.name] * part.views
    columns.key += [part.key] * part.views
    columns.sample_offset += [start] * part.views
    columns.sample_length += [length] * part.views
    columns.sample_crc32 += [crc] * part.views


def _members(region: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(region + bytes(1024))) as tar:
        found = {}
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            found[info.name.split(".", 1)[1]] = file.read()
        return found


def _relabelled(members: dict[str, bytes], labels: tuple[int, ...] | None) -> dict[str, bytes]:
    if labels is None:
        return members
    if "cls" in members:
        members["cls"] = str(labels[int(members["cls"])]).encode()
    if "json" in members:
        facts = json.loads(members["json"])
        if isinstance(facts, dict) and isinstance(facts.get("label"), int):
            facts["label"] = labels[facts["label"]]
            members["json"] = json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    return members


def _table(order: list[tuple[int, int, int]], inputs: Sequence[Input], columns: _Columns) -> pa.Table:
    import pyarrow as pa

    base, tables = 0, []
    bases = []
    for source in inputs:
        bases.append(base)
        tables.append(_with_labels(source))
        base += len(source.index)
    try:
        joined = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowTypeError as error:
        raise UserError(f"the sets have a column of the same name and another type: {error}") from None
    rows = [np.arange(bases[s] + first, bases[s] + first + views) for s, first, views in order]
    joined = joined.take(pa.array(np.concatenate(rows)))
    for name, values in columns.__dict__.items():
        at = joined.schema.get_field_index(name)
        joined = joined.set_column(
            at, joined.schema.field(at), pa.array(values, joined.schema.field(at).type)
        )
    return joined


def _with_labels(source: Input) -> pa.Table:
    import pyarrow as pa

    table = source.index.table.replace_schema_metadata(None)
    if source.labels is None:
        return table
    new = [None if label is None else source.labels[label] for label in table["label"].to_pylist()]
    at = table.schema.get_field_index("label")
    return table.set_column(at, table.schema.field(at), pa.array(new, pa.int32()))


def _failures(store: Store, inputs: Sequence[Input]) -> int:
    import pyarrow as pa

    tables = [SCHEMA.empty_table()]
    for source in inputs:
        if source.index.store.exists(FAILURES):
            tables.append(parquet.read(source.index.store.read(FAILURES)).cast(SCHEMA))
    table = pa.concat_tables(tables)
    store.write(FAILURES, parquet.to_bytes(table))
    return int(table.num_rows)


def _counted(info: DatasetInfo, shards: list[Shard], table: pa.Table, failed: int) -> DatasetInfo:
    labels = np.bincount(table["label"].drop_null().to_numpy(), minlength=len(info.classes))
    splits: dict[str, int] = {}
    for split in table["split"].to_pylist():
        splits[split] = splits.get(split, 0) + 1
    found: dict[str, Any] = {
        "shards": shards,
        "samples": sum(shard.samples for shard in shards),
        "views": table.num_rows,
        "failed": failed,
        "splits": dict(sorted(splits.items())),
        "labels": {info.classes[c]: int(n) for c, n in enumerate(labels) if n},
    }
    return info.model_copy(update=found)
