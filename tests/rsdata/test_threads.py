"""Items of a task fetched at the same time: the same bytes, no item lost, the right one blamed."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import slow_source
from image_trees import digests
from slow_source import Slow

from rsdata.ahead import in_order
from rsdata.build import build, status
from rsdata.engines import local
from rsdata.plan import make_plan
from rsdata.task import run_task


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsdata.sources.AnySource", slow_source.KNOWN)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr(Slow, "most", 0)
    monkeypatch.setattr(Slow, "begun", [])


def planned(out: Path, fates: dict[str, str | float], **options: int) -> Path:
    (out.parent / "fates.json").write_text(json.dumps(fates))
    make_plan(Slow(fates=out.parent / "fates.json", **options), out)
    return out


def test_order_is_kept_and_no_more_is_held_than_asked_for() -> None:
    begun, held = [], []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun.append(item)
        time.sleep(0.02 if item % 3 else 0.05)
        return item * item

    with in_order(work, range(40), 4) as answers:
        for k, answer in enumerate(answers):
            held.append(len(begun) - k)
            assert answer == k * k
    assert k == 39 and 4 < max(held) <= 2 * 4


def test_an_exception_drops_what_is_not_begun_and_waits_for_the_rest() -> None:
    begun, ended = [], []

    def work(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ZeroDivisionError("third")
        time.sleep(0.05)
        ended.append(item)
        return item

    with pytest.raises(ZeroDivisionError, match="third"), in_order(work, range(100), 3) as answers:
        for _ in answers:
            pass
    assert len(begun) < 10 and len(ended) == len(begun) - 1
    time.sleep(0.1)
    assert len(ended) == len(begun) - 1, "nothing was under work any more"


def test_leaving_early_ends_the_threads() -> None:
    before = threading.active_count()
    with in_order(lambda k: k, range(1000), 4) as answers:
        assert next(answers) == 0
    assert threading.active_count() == before


def test_same_bytes_with_one_and_eight_threads(tmp_path: Path) -> None:
    fates: dict[str, str | float] = {f"{i:06d}": 0.002 * (i * 7 % 5) for i in range(60)}
    fates |= {"000011": "gone", "000012": "transient", "000040": "invalid"}
    one = planned(tmp_path / "one", fates, count=60, samples_per_shard=25)
    build(one, workers=0)
    assert Slow.most == 1
    eight = planned(tmp_path / "eight", fates, count=60, samples_per_shard=25, threads=8)
    report = build(eight, workers=0)
    assert Slow.most > 4 and report.samples == 57
    assert digests(one).keys() == digests(eight).keys()
    ours = {name: digest for name, digest in digests(eight).items() if name != "plan.parquet"}
    assert ours == {name: digest for name, digest in digests(one).items() if name != "plan.parquet"}


def test_waiting_is_shared(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", {f"{i:06d}": 0.1 for i in range(40)}, count=40, threads=20)
    build(out, workers=0)
    assert Slow.most > 10


def test_a_bug_names_its_item_and_nothing_is_left_behind(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", {"000004": "bug"}, threads=5)
    with pytest.raises(ZeroDivisionError) as caught:
        build(out, workers=0)
    assert caught.value.__notes__ == ["while item '000004' was fetched"]
    assert not list(out.glob("*.tar")) and status(out).shards_done == 0
    (tmp_path / "fates.json").write_text("{}")
    assert build(out, workers=0).samples == 20


def test_positions_are_of_the_oldest_item_under_work(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", {"000003": 0.1}, threads=8)
    seen: list[int] = []
    run_task(out, 0, at=seen.append)
    assert seen == list(range(21))


def test_of_many_at_once_the_deadly_item_is_found_and_only_that_left_out(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", {f"{i:06d}": 0.05 for i in range(20)} | {"000013": "dies"}, threads=6)
    local.run(str(out), [0], workers=1, entry="slow_source:run")
    (row,) = pq.read_table(out / "tasks" / "000000.failures.parquet").to_pylist()
    assert row["item"] == "000013" and row["reason"].startswith("killed its worker 3 times")
    assert build(out, workers=0).samples == 19
