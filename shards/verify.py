"""Check a set against its own records: every digest, every member, every index row; damage is named to the byte."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from shards import parquet
from shards.dataset import DatasetInfo, Shard, read_info
from shards.errors import ShardError
from shards.index import NAME as INDEX
from shards.store import Store
from shards.tarcheck import Damage, IndexRow, damages_of

_LISTED = 20


@dataclass(frozen=True)
class VerifyReport:
    """What was looked at and what was wrong with it."""

    folder: str
    shards: int
    samples: int
    views: int
    bytes: int
    damages: tuple[Damage, ...]

    @property
    def ok(self) -> bool:
        """Nothing is damaged."""
        return not self.damages

    def summary(self) -> str:
        """The answer, and the first damages."""
        facts = (
            f"{self.shards:,} shards, {self.samples:,} samples, {self.views:,} views, {self.bytes:,} bytes"
        )
        if self.ok:
            return f"{self.folder}: whole ({facts})"
        places = "place" if len(self.damages) == 1 else "places"
        lines = [f"{self.folder}: DAMAGED in {len(self.damages):,} {places} ({facts})"]
        lines += [f"  {damage}" for damage in self.damages[:_LISTED]]
        if len(self.damages) > _LISTED:
            lines.append(f"  … and {len(self.damages) - _LISTED:,} more (--json lists all)")
        lines.append(
            "  Copy the damaged files again from where they came; or, where there is a plan.parquet, delete them and run: "
            f"rsdata build {self.folder}"
        )
        return "\n".join(lines)


def verify(
    folder: str | Path | Store, *, workers: int | None = None, advance: Callable[[], None] | None = None
) -> VerifyReport:
    """Read everything and compare; shards are read by several threads.

    Args:
        folder: a finished set.
        workers: threads; default: the cores, eight at most.
        advance: called after each shard, for a progress bar.

    Raises:
        ShardError: no set is there, it is unfinished, or dataset.json itself was changed.
    """
    store = Store.of(folder)
    info = read_info(store)
    damages, rows = _check_index(store, info)
    damages += _check_wids(store, info)
    damages += _check_extra(store, info)
    owner = {shard.sha256: shard.name for shard in info.shards}

    def check(shard: Shard) -> list[Damage]:
        found = _check_shard(store, shard, None if rows is None else rows.get(shard.name, []), owner)
        if advance is not None:
            advance()
        return found

    with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1)) as pool:
        for found in pool.map(check, info.shards):
            damages += found
    size = sum(shard.bytes for shard in info.shards)
    return VerifyReport(store.url, len(info.shards), info.samples, info.views, size, tuple(damages))


_Rows = dict[str, list[IndexRow]]


def _check_index(store: Store, info: DatasetInfo) -> tuple[list[Damage], _Rows | None]:
    """Damages of the index, and its rows by shard; None where it cannot be used."""
    if not store.exists(INDEX):
        return [Damage(INDEX, "", None, "is missing")], None
    data = store.read(INDEX)
    if hashlib.sha256(data).hexdigest() != info.index_sha256:
        what = f"is damaged or belongs to another data set (sha256 differs; {len(data):,} bytes, expected {info.index_bytes:,})"
        return [Damage(INDEX, "", None, what)], None
    table = parquet.read(data)
    damages = []
    shards = table["shard"].to_pylist()
    fields = [name for name in IndexRow.__dataclass_fields__ if name in table.column_names]
    columns = [table[name].to_pylist() for name in fields]
    rows: _Rows = {}
    for shard, *values in zip(shards, *columns, strict=True):
        rows.setdefault(shard, []).append(IndexRow(**dict(zip(fields, values, strict=True))))
    for name in rows.keys() - {shard.name for shard in info.shards}:
        damages.append(
            Damage(INDEX, rows[name][0].key, None, f"names the shard {name}, which dataset.json does not")
        )
    if table.num_rows != info.views:
        damages.append(
            Damage(INDEX, "", None, f"has {table.num_rows:,} rows; dataset.json says {info.views:,} views")
        )
    labels = [label for label in table["label"].to_pylist() if label is not None]
    if labels and not (min(labels) >= 0 and max(labels) < len(info.classes)):
        what = f"has labels {min(labels)} … {max(labels)}; dataset.json names {len(info.classes)} classes"
        damages.append(Damage(INDEX, "", None, what))
    seen: dict[str, str] = {}
    for name in rows:
        for key in {row.key: None for row in rows[name]}:
            if seen.setdefault(key.lower(), name) != name:
                damages.append(Damage(name, key, None, f"the key occurs in {seen[key.lower()]} too"))
    return damages, rows


def _check_wids(store: Store, info: DatasetInfo) -> list[Damage]:
    if not store.exists("wids.json"):
        return [Damage("wids.json", "", None, "is missing")]
    try:
        found = [(s["url"], s["nsamples"]) for s in json.loads(store.read("wids.json"))["shardlist"]]
    except (ValueError, KeyError, TypeError) as error:
        return [Damage("wids.json", "", None, f"cannot be read ({error})")]
    if found != [(shard.name, shard.samples) for shard in info.shards]:
        return [Damage("wids.json", "", None, "lists other shards than dataset.json")]
    return []


def _check_extra(store: Store, info: DatasetInfo) -> list[Damage]:
    known = {shard.name for shard in info.shards}
    extra = [name for name in store.names() if name.endswith(".tar") and name not in known]
    return [Damage(name, "", None, "is no part of this set; remove it") for name in extra]


def _check_shard(
    store: Store, shard: Shard, rows: list[IndexRow] | None, owner: dict[str, str]
) -> list[Damage]:
    if not store.exists(shard.name):
        return [Damage(shard.name, "", None, f"is missing ({shard.samples:,} samples)")]
    try:
        with _opened(store, shard.name) as data:
            return list(damages_of(data, shard, rows, owner))
    except (OSError, ShardError) as error:
        return [Damage(shard.name, "", None, f"cannot be read: {error}")]


class _opened:  # noqa: N801 - used as a function
    """The bytes of a file: a memory map on a disk, else read whole."""

    def __init__(self, store: Store, name: str) -> None:
        self._map: mmap.mmap | None = None
        if store.local is None or not store.size(name):
            self._view = memoryview(store.read(name))
        else:
            with (store.local / name).open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._view = memoryview(self._map)

    def __enter__(self) -> memoryview:
        return self._view

    def __exit__(self, *_: object) -> None:
        self._view.release()
        if self._map is not None:
            self._map.close()
