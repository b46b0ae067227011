"""Parquet bytes to a table and back, without pandas and without threads that outlive the call."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq


def read(data: bytes) -> pa.Table:
    """All rows of a file held in memory.

    Not `pq.read_table`: it imports pandas, a second for each process, and scans in the background; a short-lived
    process that exits while arrow's threads start is now and then aborted (exit code 134), so none is started.

    Raises:
        ValueError: these bytes are no Parquet file.
    """
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        return file.read(use_threads=False)


def to_bytes(table: pa.Table, *, rows_per_group: int | None = None) -> bytes:
    """The file of a table: the same bytes for the same rows and the same pyarrow."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", row_group_size=rows_per_group)
    return out.getvalue()
