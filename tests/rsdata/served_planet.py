"""The embedded planet in a process of its own, and builds of it as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from image_trees import digests

from shards.index import Index
from shards.raster import decode_raster

SIDES = {"b10.b2nd": (4, 264, 264), "b20.b2nd": (6, 132, 132), "b60.b2nd": (2, 44, 44)}
FAULTS = ("--fault", "429=0.08", "--fault", "500=0.08", "--fault", "cut=0.07")
"""One request of five fails."""


@contextmanager
def planet(*options: str) -> Iterator[str]:
    """The base URL of `rsdata sandbox` with these options."""
    command = [sys.executable, "-m", "rsdata", "sandbox", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(timeout=30)


def options(url: str, *more: Any) -> list[str]:
    """Options of `rsdata run seco` for a planet that needs no account."""
    return ["--endpoint", url, "--credentials", "anonymous", *map(str, more)]


def start(*words: Any, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.Popen[str]:
    """`rsdata` with these words."""
    return subprocess.Popen(
        [sys.executable, "-m", "rsdata", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (env or {}),
        cwd=cwd,
    )


def run(*words: Any, timeout: float = 200, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `rsdata` with these words."""
    process = start(*words, env=env)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, out, err


def made(out: Path) -> dict[str, str]:
    """What must be equal between two builds with other threads or another endpoint: all but the plan, which names them."""
    return {name: digest for name, digest in digests(out).items() if name != "plan.parquet"}


def check_patches(out: Path) -> int:
    """See that every patch of every season has exactly its size; how many there are."""
    index, seen = Index.open(out), 0
    for row in range(len(index)):
        for ending, data in index.read_parts(row, SIDES).items():
            pixels = decode_raster(data)
            assert pixels.shape == SIDES[ending] and pixels.dtype == "uint16", (row, ending, pixels.shape)
            seen += 1
    return seen


def check_accounts(out: Path) -> tuple[int, int]:
    """See that every place is done or has failed with class and reason, and no reserve in vain; how many of each."""
    plan = pq.read_table(out / "plan.parquet").to_pylist()
    failures = pq.read_table(out / "failures.parquet").to_pylist()
    done = {str(key) for key in Index.open(out).column("key")}
    failed = {row["item"] for row in failures}
    assert not done & failed
    assert {row["id"] for row in plan if not row["reserve"]} <= done | failed <= {row["id"] for row in plan}
    assert all(row["reason"] and row["class"] in ("gone", "invalid", "transient") for row in failures)
    return len(done), len(failed)


def stats(url: str) -> dict[str, Any]:
    """What the server counted."""
    with urllib.request.urlopen(f"{url}/_sandbox/stats", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
