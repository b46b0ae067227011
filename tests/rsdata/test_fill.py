"""Reserves: what the archive does not have is made up for, the same way on any run; what the network loses is not."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import slow_source
from image_trees import digests
from slow_source import Slow

from rsdata.build import build, retry, status
from rsdata.engines import local
from rsdata.plan import Plan, make_plan
from shards.index import Index
from shards.verify import verify

GONE = {"000003": "gone", "000005": "invalid", "000011": "gone", "000021": "gone"}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsdata.sources.AnySource", slow_source.KNOWN)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)


def fate(folder: Path, fates: dict[str, Any]) -> Path:
    file = folder / "fates.json"
    file.write_text(json.dumps(fates))
    return file


def planned(out: Path, fates: dict[str, Any], **options: int) -> Path:
    make_plan(Slow(fates=fate(out.parent, fates), **{"count": 20, "spare": 6, **options}), out)
    return out


def keys(out: Path) -> list[str]:
    return [str(key) for key in Index.open(out).column("key")]


def made(out: Path) -> dict[str, str]:
    """The set without what a retry counts: attempts."""
    return {k: v for k, v in digests(out).items() if k not in ("plan.parquet", "failures.parquet")}


def lost(out: Path) -> dict[str, str]:
    return {row["item"]: row["class"] for row in pq.read_table(out / "failures.parquet").to_pylist()}


def test_reserves_lie_in_the_plan_and_are_not_touched_unless_needed(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", {}, samples_per_shard=7)
    table = pq.read_table(out / "plan.parquet")
    assert table.num_rows == 26 and sum(table["reserve"].to_pylist()) == 6
    assert [shard.reserves for shard in Plan.open(out).info.shards] == [2, 2, 2]
    assert Plan.open(out).info.items == 20
    report = build(out, workers=0)
    assert (report.samples, report.items, report.reserves, report.reserves_tried) == (20, 20, 6, 0)
    assert not report.failures and max(keys(out)) == "000019"


def test_what_the_archive_does_not_have_is_made_up_for(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", GONE)
    report = build(out, workers=0)
    assert lost(out) == GONE, "each is recorded, a reserve too"
    assert keys(out)[-3:] == ["000020", "000022", "000023"], "in their order, behind the items"
    assert (report.samples, report.reserves_tried, report.failed) == (20, 4, {"gone": 3, "invalid": 1})
    assert report.samples + report.failures == report.items + report.reserves_tried, "all are accounted for"
    assert "4 of 6 reserves tried" in report.summary()
    info = Index.open(out).info
    assert info.notes["reserves tried"] == 4 and info.samples == 20 and info.failed == 4
    assert verify(out).ok


def test_when_reserves_run_out_the_set_is_short(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", {f"{i:06d}": "gone" for i in range(10)}, spare=4)
    report = build(out, workers=0)
    assert (report.samples, report.reserves_tried) == (14, 4)


def test_the_network_uses_up_no_reserve_and_changes_nothing(tmp_path: Path) -> None:
    calm = planned(tmp_path / "calm", GONE, samples_per_shard=7)
    build(calm, workers=0)
    for turn in range(4):
        draw = random.Random(turn)
        out = planned(tmp_path / f"out{turn}", GONE, samples_per_shard=7, threads=1 + 3 * turn)
        for share in (0.8, 0.4, 0.2):  # of all that is there, and of what is not: the network hides both
            cut = {f"{i:06d}": "transient" for i in range(26) if draw.random() < share}
            fate(tmp_path, GONE | cut)
            report = build(out, workers=0) if share == 0.8 else retry(out, workers=0)
            assert set(report.failed) <= {"gone", "invalid", "transient"}
        fate(tmp_path, GONE)
        assert retry(out, workers=0).failed == {"gone": 3, "invalid": 1}
        assert made(out) == made(calm)


def test_an_item_that_kills_its_worker_says_nothing_of_the_archive(tmp_path: Path) -> None:
    out = planned(tmp_path / "out", {"000004": "dies", "000006": "gone"}, count=8, spare=2)
    seen: list[int] = []
    local.run(str(out), [0], workers=1, entry="slow_source:run", on_progress=seen.append)
    assert seen[-1] == 10
    report = status(out)
    assert (report.samples, report.reserves_tried, report.failed) == (7, 1, {"gone": 1, "invalid": 1})


def test_the_same_plan_whatever_the_reserves(tmp_path: Path) -> None:
    """Reserves neither move an item nor change the plan of who has none."""
    with_, without = planned(tmp_path / "a", {}), planned(tmp_path / "b", {}, spare=0)
    assert [i.id for i in Plan.open(with_).items(0)[:20]] == [i.id for i in Plan.open(without).items(0)]
    assert Plan.open(with_).info.plan_digest != Plan.open(without).info.plan_digest
