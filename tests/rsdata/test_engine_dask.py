"""Dask with a scheduler and workers as processes of their own: kills of any of them change nothing but the time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from dask_cluster import Cluster, made_again, slow_build
from image_trees import digests, folder, write_folder

from rsdata.build import build, status
from rsdata.engines import dask
from rsdata.plan import make_plan
from shards.errors import ConfigError, UserError

LEASES = {"LEASE_TIMEOUT": "2s", "LEASE_VALIDATION_INTERVAL": "500ms"}


@pytest.fixture(autouse=True)
def tasks_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find `poison_task`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


def planned(base: Path, name: str, *, shard: int = 5) -> Path:
    if not (base / "in").exists():
        write_folder(base / "in", {"a": 25, "b": 25})
    make_plan(folder(base / "in", samples_per_shard=shard), base / name)
    return base / name


def test_without_an_address_it_runs_on_this_machine(tmp_path: Path) -> None:
    build(planned(tmp_path, "local", shard=10), workers=2)
    report = build(planned(tmp_path, "dask", shard=10), engine="dask", workers=2)
    assert report.finished and digests(tmp_path / "dask") == digests(tmp_path / "local")


@pytest.mark.slow
def test_killed_workers_and_a_killed_scheduler(tmp_path: Path) -> None:
    build(planned(tmp_path, "calm"), workers=2)
    out, notes = planned(tmp_path, "harried"), tmp_path / "harried.notes"

    def ended() -> int:
        return notes.read_text().count("end") if notes.exists() else 0

    def wait_for(count: int) -> None:
        end = time.monotonic() + 100
        while ended() < count:
            assert time.monotonic() < end and process.poll() is None, process.communicate()
            time.sleep(0.01)

    with Cluster(tmp_path) as cluster:
        cluster.start_worker()
        cluster.start_worker()
        process = slow_build(out, cluster.address)
        for kill in range(2):
            wait_for(1 + kill)
            cluster.worker_processes()[kill % len(cluster.worker_processes())].kill()
        wait_for(4)
        cluster.scheduler.kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert said.splitlines()[-1] == (
            f"error: {out}: the scheduler is lost; finished shards are kept, start it again and run the same command"
        )
        assert "Traceback" not in said
    assert 4 <= status(out).shards_done < 10
    assert (
        made_again(out) <= 2 + 2
    )  # what was under work at two kills of workers and one of the scheduler of two
    build(out, workers=2)  # what one engine left, another finishes
    assert digests(out) == digests(tmp_path / "calm")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler that gives a task up at the first death and takes leases back after two seconds, and one worker."""
    settings = {"SCHEDULER__ALLOWED_FAILURES": "0"} | {f"SCHEDULER__LOCKS__{k}": v for k, v in LEASES.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        with Cluster(
            tmp_path_factory.mktemp("hub"), **{f"DASK_DISTRIBUTED__{k}": v for k, v in settings.items()}
        ) as cluster:
            cluster.start_worker()
            yield cluster


def test_an_item_that_takes_the_whole_worker_with_it_is_named(tmp_path: Path, hub: Cluster) -> None:
    out = planned(tmp_path, "out")
    tasks, entry = [0, 1, 2], "poison_task:kills_its_supervisor_at_3"
    dask.run(str(out), tasks, address=hub.address, workers=1, entry=entry)
    assert not list((out / "tasks").glob("*.at"))
    (row,) = pq.read_table(out / "tasks" / "000001.failures.parquet").to_pylist()
    assert row["reason"] == "killed the workers that touched it (out of memory?)"
    assert status(out).samples == 14


def test_what_a_task_raises_and_what_a_worker_does_not_see(tmp_path: Path, hub: Cluster) -> None:
    out = planned(tmp_path, "out")
    with pytest.raises(dask.EngineError, match="ZeroDivisionError: the bug"):
        dask.run(str(out), [1], address=hub.address, workers=1, entry="poison_task:breaks")
    crew = dask.Crew(str(out), "poison_task:breaks", shared=True)
    crew.here, crew.sees = "tcp://there:1", False
    (out / "plan.parquet").rename(out / "moved")
    with pytest.raises(UserError, match=r"the worker tcp://there:1 does not see this build's plan"):
        crew.work(0, {}, False, print)
    (out / "moved").rename(out / "plan.parquet")
    with pytest.raises(ConfigError, match=r"no scheduler answers .*start one with: dask scheduler"):
        dask.run(str(out), [1], address="tcp://127.0.0.1:9", workers=1)


CALLS = """
import sys, time
from rsdata.engines.quota import SharedLimiter
limiter = SharedLimiter(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) or None)
for _ in range(int(sys.argv[5])):
    with limiter.call():
        print("in", time.time(), flush=True)
        time.sleep(float(sys.argv[6]))
        print("out", time.time(), flush=True)
"""


def calls(hub: Cluster, *words: object) -> subprocess.Popen[str]:
    locks = {f"DASK_DISTRIBUTED__SCHEDULER__LOCKS__{k}": v for k, v in LEASES.items()}
    command = [sys.executable, "-c", CALLS, hub.address, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | locks)


def events(*processes: subprocess.Popen[str]) -> list[tuple[float, str]]:
    said = "".join(process.communicate(timeout=100)[0] for process in processes)
    return sorted((float(when), what) for what, when in map(str.split, said.splitlines()))


def test_limits_hold_over_processes_and_survive_the_dead(hub: Cluster) -> None:
    dead = calls(hub, "held", 1, 0, 1, 60)
    assert dead.stdout is not None and dead.stdout.readline().startswith("in")
    waits = calls(hub, "held", 1, 0, 1, 0)
    both = [calls(hub, "both", 2, 0, 6, 0.1), calls(hub, "both", 2, 10, 12, 0.1)]
    inside = [1 if what == "in" else -1 for _, what in events(*both)]
    assert max(accumulate(inside)) == 2
    starts = [when for when, what in events(calls(hub, "rate", 8, 10, 12, 0)) if what == "in"]
    assert starts[11] - starts[1] > 0.9  # ten a second
    dead.kill()
    dead.wait()
    assert events(waits)[0][1] == "in"
