"""`rsdata export --to folder`: back to files that any viewer opens, with one CSV of all facts."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from shards.errors import UserError
from shards.index import Index
from shards.sample import clean_key
from shards.store import Store

_LEFT_OUT = (
    "shard", "member", "offset", "length", "crc32", "sample_offset", "sample_length", "sample_crc32", "geometry"
)  # fmt: skip


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    out: str
    files: int
    bytes: int

    def summary(self) -> str:
        """One line for people."""
        return f"{self.out}: {self.files:,} images ({self.bytes / 1e6:,.1f} MB) and index.csv"


def export_folder(folder: str | Path | Store, out: Path) -> ExportReport:
    """Write `OUT/<split>/<class>/<key>.<member>` (no class folder where there are no labels) and OUT/index.csv.

    The folder gets its name when everything is in it.

    Raises:
        ShardError: the set is unfinished or damaged.
        UserError: the output exists, or the disk is full.
    """
    import pyarrow as pa

    from rsdata.curate.tables import write_csv

    index = Index.open(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty; choose another folder")
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    paths, size = [], 0
    columns = [index.table[name].to_pylist() for name in ("key", "member", "label", "split")]
    try:
        for row, (key, member, label, split) in enumerate(zip(*columns, strict=True)):
            place = (
                clean_key(split)
                if label is None
                else f"{clean_key(split)}/{clean_key(index.info.classes[label])}"
            )
            path = f"{place}/{key}.{member}"
            (part / place).mkdir(parents=True, exist_ok=True)
            data = index.read(row)
            (part / path).write_bytes(data)
            size += len(data)
            paths.append(path)
        table = index.table.drop_columns(list(_LEFT_OUT)).add_column(0, "path", pa.array(paths, pa.string()))
        write_csv(Store(part), "index.csv", table)
        if out.exists():
            out.rmdir()
        part.rename(out)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); nothing half was left behind"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return ExportReport(str(out), len(paths), size)
