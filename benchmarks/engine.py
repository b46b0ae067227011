"""What an engine costs: the local one against Dask, interleaved, with tasks that only wait or only compute.

python benchmarks/engine.py [--long 8] [--short 1000] [--rounds 3] [--workers 2]: prints one JSON object. Long tasks wait five
seconds, short ones keep a core for 20 ms. Dask is a scheduler and workers of one thread each as processes of their own,
started before the clock. Overhead is the wall time beyond tasks x seconds / workers; it holds the start of the processes of
an engine. Futures on their own, `client.submit` of the same waiting, stand beside it as what Dask itself needs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "rsdata"))

from dask_cluster import Cluster
from distributed import Client
from image_trees import folder, write_folder

from rsdata.engines import dask, local
from rsdata.plan import make_plan


def waits(out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None]) -> None:
    """Five seconds of a network."""
    at(0)
    time.sleep(5)
    at(1)


def computes(out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None]) -> None:
    """20 ms of a core."""
    at(0)
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        sum(range(1000))
    at(1)


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(out: str, entry: str, tasks: int, rounds: int, workers: int, address: str) -> dict[str, Any]:
    """Wall times of the engines, one after the other in each round."""

    def on_dask() -> None:
        dask.run(out, range(tasks), address=address, workers=workers, entry=entry)

    def locally() -> None:
        local.run(out, range(tasks), workers=workers, entry=entry)

    def futures() -> None:
        with Client(address, set_as_default=False) as client:
            task = globals()[entry.split(":")[1]]
            client.gather([client.submit(task, out, k, skip={}, at=abs, pure=False) for k in range(tasks)])

    ways = {"local": locally, "dask": on_dask, "futures": futures}
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            took[name].append(seconds(way))
    return {
        name: {"seconds": [round(s, 3) for s in times], "median": round(statistics.median(times), 3)}
        for name, times in took.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=8)
    parser.add_argument("--short", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    sys.modules["engine"] = sys.modules["__main__"]
    waits.__module__ = computes.__module__ = "engine"
    with tempfile.TemporaryDirectory() as base:
        count = max(given.long, given.short)
        make_plan(
            folder(write_folder(Path(base) / "in", {"a": count}), samples_per_shard=1), Path(base) / "out"
        )
        out, found = str(Path(base) / "out"), {}
        with Cluster(Path(base)) as cluster:
            for _ in range(given.workers):
                cluster.start_worker()
            with Client(cluster.address, set_as_default=False) as client:
                client.wait_for_workers(given.workers)
            kinds = {
                "5 s of waiting": ("waits", given.long, 5.0),
                "20 ms of a core": ("computes", given.short, 0.02),
            }
            for name, (entry, tasks, each) in kinds.items():
                ways = measure(out, f"engine:{entry}", tasks, given.rounds, given.workers, cluster.address)
                ideal = -(-tasks // given.workers) * each
                for way in ways.values():
                    way["overhead_ms_a_task"] = round(
                        1000 * (way["median"] - ideal) * given.workers / tasks, 2
                    )
                found[name] = {"tasks": tasks, "ideal_s": ideal, **ways}
                found[name]["dask_over_local"] = round(
                    ways["dask"]["median"] / ways["local"]["median"] - 1, 4
                )
    print(
        json.dumps(
            {"workers": given.workers, "cores": os.cpu_count(), "load": os.getloadavg(), **found}, indent=1
        )
    )


if __name__ == "__main__":
    main()
