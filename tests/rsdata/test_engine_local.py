"""The supervisor: workers may die, the build does not."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from image_trees import digests, folder, write_folder

from rsdata.build import build, status
from rsdata.engines import local
from rsdata.plan import make_plan
from shards.errors import ConfigError


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan of three shards of ten, and workers that find `poison_task`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    root = write_folder(tmp_path / "in", {"a": 15, "b": 15})
    make_plan(folder(root, samples_per_shard=10), tmp_path / "out")
    return tmp_path / "out"


def test_item_that_kills_its_worker_is_recorded_and_skipped(out: Path) -> None:
    seen: list[int] = []
    local.run(str(out), [0, 1, 2], workers=2, entry="poison_task:dies_at_3", on_progress=seen.append)
    assert seen[-1] == 30
    report = build(out)
    assert report.finished and report.samples == 29 and report.failed == {"invalid": 1}
    (row,) = pq.read_table(out / "failures.parquet").to_pylist()
    assert row["reason"] == "killed its worker 3 times (SIGKILL; out of memory?)"


def test_workers_that_cannot_start_end_the_run(out: Path) -> None:
    with pytest.raises(local.EngineError, match=r"5 workers died at their start \(exit status 7\)"):
        local.run(str(out), [0, 1, 2], workers=2, entry="poison_task:dies_first")


def test_a_bug_shows_its_traceback_once_and_keeps_finished_shards(out: Path) -> None:
    with pytest.raises(local.EngineError, match="ZeroDivisionError: the bug"):
        local.run(str(out), [0, 1, 2], workers=1, entry="poison_task:breaks")
    assert status(out).shards_done == 1
    assert build(out).finished


@pytest.mark.slow
def test_worker_killed_from_outside(tmp_path: Path, out: Path) -> None:
    """Five times one worker: the build goes on and ends the same."""
    root = write_folder(tmp_path / "more", {"a": 80, "b": 80}, side=256)
    for name in ("calm", "harried"):
        make_plan(folder(root, samples_per_shard=10), tmp_path / name)
    build(tmp_path / "calm", workers=2)

    killed, done = 0, threading.Event()

    def harry() -> None:
        nonlocal killed
        finished = 0
        while killed < 5 and not done.is_set():
            time.sleep(0.05)
            workers = psutil.Process().children()
            markers = len(list((tmp_path / "harried" / "tasks").glob("*.json")))
            if markers > finished and workers:
                workers[killed % len(workers)].kill()
                killed, finished = killed + 1, markers

    thread = threading.Thread(target=harry, daemon=True)
    thread.start()
    try:
        report = build(tmp_path / "harried", workers=2)
    finally:
        done.set()
        thread.join()
    assert killed == 5 and report.finished
    assert digests(tmp_path / "harried") == digests(tmp_path / "calm")


def test_options_of_other_engines_are_refused(out: Path) -> None:
    with pytest.raises(ConfigError, match="--address"):
        build(out, address="tcp://somewhere:8786")
    with pytest.raises(ConfigError, match="--submit is of --engine slurm, not of local"):
        build(out, submit=True)
    with pytest.raises(ConfigError, match="--sbatch is of --engine slurm, not of local"):
        build(out, sbatch=["--partition=cpu"])
    with pytest.raises(ConfigError, match="leave it out beside --address"):
        build(out, engine="dask", workers=3, address="tcp://somewhere:8786")
    with pytest.raises(ConfigError, match="engine 'ray' is not known; known: local, dask, slurm"):
        build(out, engine="ray")
