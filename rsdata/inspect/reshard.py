"""`rsdata reshard`: the same samples in the same order, cut into shards of another size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rsdata.inspect.rewrite import Input, Part, empty_output, samples_of, shard_names, write_set
from shards.errors import UserError
from shards.index import Index
from shards.store import Store

_NUMBER = re.compile(r"-\d+\.tar\Z")


@dataclass(frozen=True)
class RewriteReport:
    """A set that was written from others."""

    out: str
    samples: int
    views: int
    shards: int
    classes: int
    fingerprint: str

    def summary(self) -> str:
        """One line for people."""
        return (
            f"{self.out}: {self.samples:,} samples ({self.views:,} views, {self.classes} classes) in {self.shards:,} shards\n"
            f"  next: rsdata verify {self.out}"
        )


def reshard(folder: str | Path | Store, out: str | Path, *, samples_per_shard: int) -> RewriteReport:
    """Copy a set; names keep their prefix, so the shards of a split stay the shards of that split.

    Raises:
        ShardError: the set is unfinished or damaged.
        UserError: the output is not empty, or the shard size makes no sense.
    """
    if samples_per_shard < 1:
        raise UserError(f"--samples-per-shard is {samples_per_shard}; it must be 1 or more")
    index = Index.open(folder)
    starts, counts = samples_of(index)
    keys = index.table["key"].to_pylist()
    names = index.table["shard"].to_pylist()
    runs: dict[str, list[Part]] = {}
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        prefix = _NUMBER.sub("", names[start])
        runs.setdefault(prefix, []).append(Part(0, start, count, keys[start]))
    shards = shard_names(list(runs.items()), samples_per_shard)
    store = empty_output(out, [name for name, _ in shards])
    notes = {**index.info.notes, "resharded_from": index.info.fingerprint}
    info = write_set(store, shards, [Input(index)], index.info.model_copy(update={"notes": notes}))
    return RewriteReport(
        store.url, info.samples, info.views, len(info.shards), len(info.classes), info.fingerprint
    )
