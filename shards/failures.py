"""failures.parquet: what did not make it into a set, at which stage and why. Nothing is silently replaced."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa


class FailureClass(StrEnum):
    """What can be done about a failure."""

    TRANSIENT = "transient"
    """May work next time: the network, a busy server. `retry` tries it again."""
    GONE = "gone"
    """No longer there: 404, a file that was deleted."""
    INVALID = "invalid"
    """There, but not what it should be: truncated, not an image, no coordinates."""
    REFUSED = "refused"
    """We will not touch it: a pixel bomb, a path that leaves its folder, access denied."""


@dataclass(frozen=True)
class Failure:
    """One item that failed."""

    item: str
    stage: str
    """`fetch`, `check`, `curate` or `write`."""
    kind: FailureClass
    reason: str
    attempts: int = 1
    last_time: str = ""
    """ISO 8601, UTC; the only column that differs between two equal builds."""


SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("stage", pa.string()),
        ("class", pa.string()),
        ("reason", pa.string()),
        ("attempts", pa.int32()),
        ("last_time", pa.string()),
    ]
)


def to_table(failures: list[Failure]) -> pa.Table:
    """Failures as the table of the contract."""
    rows = [
        {
            "item": f.item,
            "stage": f.stage,
            "class": str(f.kind),
            "reason": f.reason,
            "attempts": f.attempts,
            "last_time": f.last_time,
        }
        for f in failures
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def from_table(table: pa.Table) -> list[Failure]:
    """The way back."""
    return [
        Failure(r["item"], r["stage"], FailureClass(r["class"]), r["reason"], r["attempts"], r["last_time"])
        for r in table.to_pylist()
    ]
