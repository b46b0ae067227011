"""Samples a second of writing shards: ours (digests, index rows, fsync) against webdataset's writer, tarfile and loose files.

    python benchmarks/shards_write.py [--samples 4000] [--bytes 40000] [--rounds 5]

Prints one JSON object. Rates are by processor time and by the clock; the writers take turns on the same random bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from shards.index import rows_of, table_of, to_bytes
from shards.sample import Sample, View
from shards.store import Store
from shards.writer import open_shard

PER_SHARD = 1000
Samples = list[tuple[str, bytes, bytes]]
"""Key, JPEG, JSON."""


def ours(samples: Samples, folder: Path) -> None:
    """Whole or absent, with sha256 and crc32 of each member and of the shard, and the index."""
    store, rows = Store(folder), []
    for start in range(0, len(samples), PER_SHARD):
        with open_shard(store, f"set-{start // PER_SHARD:06d}.tar") as writer:
            for key, jpg, text in samples[start : start + PER_SHARD]:
                sample = Sample(key, {"jpg": jpg, "json": text}, (View("jpg", 256, 256),))
                rows += rows_of(writer.name, sample, writer.write(sample))
            writer.close()
    store.write("index.parquet", to_bytes(table_of(rows, {})))


def webdataset(samples: Samples, folder: Path) -> None:
    import webdataset as wds

    with wds.ShardWriter(f"{folder}/set-%06d.tar", maxcount=PER_SHARD, verbose=0, mtime=0) as writer:
        for key, jpg, text in samples:
            writer.write({"__key__": key, "jpg": jpg, "json": text})


def tarfile_ustar(samples: Samples, folder: Path) -> None:
    for start in range(0, len(samples), PER_SHARD):
        with tarfile.open(folder / f"{start}.tar", "w", format=tarfile.USTAR_FORMAT) as file:
            for key, jpg, text in samples[start : start + PER_SHARD]:
                for ending, data in (("jpg", jpg), ("json", text)):
                    info = tarfile.TarInfo(f"{key}.{ending}")
                    info.size = len(data)
                    file.addfile(info, io.BytesIO(data))


def loose_files(samples: Samples, folder: Path) -> None:
    for key, jpg, text in samples:
        (folder / f"{key}.jpg").write_bytes(jpg)
        (folder / f"{key}.json").write_bytes(text)


WAYS: dict[str, Callable[[Samples, Path], None]] = {
    "ours": ours,
    "webdataset": webdataset,
    "tarfile": tarfile_ustar,
    "loose files": loose_files,
}


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--samples", type=int, default=4000)
    options.add_argument("--bytes", type=int, default=40_000)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    rng = np.random.default_rng(0)
    text = json.dumps({"lon": 8.5, "lat": 47.4, "time": "2020-01-01"}).encode()
    samples = [(f"place-{i:06d}", rng.bytes(given.bytes), text) for i in range(given.samples)]
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(given.rounds):
        for name, way in WAYS.items():
            folder = Path(tempfile.mkdtemp())
            before, start = time.process_time(), time.perf_counter()
            way(samples, folder)
            wall[name].append(given.samples / (time.perf_counter() - start))
            cpu[name].append(given.samples / (time.process_time() - before))
            shutil.rmtree(folder)
    result: dict[str, Any] = {"samples": given.samples, "bytes": given.bytes}
    for what, rates in (("samples_per_s", wall), ("samples_per_cpu_s", cpu)):
        result[what] = {name: round(statistics.median(values)) for name, values in rates.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
