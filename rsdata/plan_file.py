"""The rows of plan.parquet: items to a table and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rsdata.sources.base import Item, Row
from shards import parquet

_ROW_GROUP = 1 << 14


def read_facts(file: Any) -> dict[str, Any]:
    """The facts in the metadata of a plan (a path or an open file).

    Raises:
        ValueError: this is no plan.
    """
    try:
        facts: dict[str, Any] = json.loads(pq.read_schema(file).metadata[b"rsdata"])
    except (pa.ArrowInvalid, KeyError, TypeError, OSError) as error:
        raise ValueError(str(error)) from None
    return facts


def read_items(file: Any, start: int, stop: int) -> list[Item]:
    """The items [start, stop) of a plan; only their row groups are read."""
    with pq.ParquetFile(file) as opened:
        first = start // _ROW_GROUP
        table = opened.read_row_groups(list(range(first, -(-stop // _ROW_GROUP))))
    return list(_items_of(table.slice(start - first * _ROW_GROUP, stop - start)))


def _schema() -> pa.Schema:
    return pa.schema(
        [
            ("id", pa.string()),
            ("key", pa.string()),
            ("shard", pa.int32()),
            ("reserve", pa.bool_()),
            ("split", pa.string()),
            ("label", pa.int32()),
            ("group", pa.string()),
            ("lon", pa.float64()),
            ("lat", pa.float64()),
            ("time", pa.timestamp("ms", "UTC")),
            ("bytes", pa.int64()),
            ("urls", pa.list_(pa.string())),
            ("sizes", pa.list_(pa.int64())),
            ("facts", pa.string()),
        ]
    )


def to_bytes(rows: list[Row], facts: dict[str, Any]) -> bytes:
    """plan.parquet: rows in their order, and facts in the metadata."""
    items = [row.item for row in rows]
    columns: dict[str, list[Any]] = {
        "id": [i.id for i in items],
        "key": [i.key for i in items],
        "shard": [row.shard for row in rows],
        "reserve": [row.reserve for row in rows],
        "split": [i.split for i in items],
        "label": [i.label for i in items],
        "group": [i.group for i in items],
        "lon": [i.lon for i in items],
        "lat": [i.lat for i in items],
        "time": [_time(i.time) for i in items],
        "bytes": [sum(i.sizes) if i.sizes else None for i in items],
        "urls": [i.urls for i in items],
        "sizes": [i.sizes for i in items],
        "facts": [i.facts for i in items],
    }
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False)
    table = pa.table(columns, schema=_schema().with_metadata({"rsdata": text}))
    return parquet.to_bytes(table, rows_per_group=_ROW_GROUP)


def _items_of(table: pa.Table) -> Iterator[Item]:
    for row in table.to_pylist():
        yield Item(
            id=row["id"],
            key=row["key"],
            urls=tuple(row["urls"]),
            sizes=tuple(row["sizes"]),
            split=row["split"],
            label=row["label"],
            group=row["group"],
            lon=row["lon"],
            lat=row["lat"],
            time=row["time"].isoformat() if row["time"] else None,
            facts=row["facts"],
        )


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)
