"""A forecast against arithmetic, and against a build that was measured."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from image_trees import folder, rsdata, write_folder
from served_planet import planet, stats

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.simulate import Means, simulate
from shards.errors import ConfigError


@pytest.mark.parametrize(
    ("means", "seconds", "limit"),
    [
        ("workers=2,latency=0.5", 1.0, "latency"),  # two shards of ten at once, one image after the other
        ("workers=1,latency=0.5", 2.0, "latency"),
        ("workers=40,latency=0.5,quota=2", 1.0, "quota"),
        ("workers=40,latency=0.5,rate=2", 2.0, "rate"),
        ("workers=2,latency=0,cpu=0.25", 0.5, "cpu"),
    ],
)
def test_what_can_be_reckoned(means: str, seconds: float, limit: str, tmp_path: Path) -> None:
    """Forty images of one request each, ten a shard; times are of ten images."""
    root = write_folder(tmp_path / "in", {"a": 20, "b": 20})
    plan = make_plan(folder(root, samples_per_shard=1 if "40" in means else 10), tmp_path / "out")
    found = simulate(plan, Means.parse(f"{means},places=40"))
    assert found.hours * 3600 == pytest.approx(10 * seconds) and found.limit == limit
    assert found.requests == 40


def test_the_last_shard_is_waited_for(tmp_path: Path) -> None:
    plan = make_plan(folder(write_folder(tmp_path / "in", {"a": 30}), samples_per_shard=10), tmp_path / "out")
    found = simulate(plan, Means.parse("workers=2,latency=1,places=30"))
    assert found.hours * 3600 == pytest.approx(20)


@pytest.mark.slow
def test_it_foretells_a_measured_build(tmp_path: Path) -> None:
    """Radar scenes of the served planet, at a second a request, once its clients are open: within a fifth."""
    given = (
        "--locations 16 --samples-per-shard 4 --threads 4 --sensor s1-grd --seasons 03-20 --window-days 60"
    )
    with planet("--latency", "1") as url:
        options = ["--endpoint", url, "--credentials", "anonymous", *given.split()]
        text = "workers=1,latency=1,quota=4,places=12"
        done = rsdata("plan", "seco", tmp_path / "out", *options, "--simulate", text, "--json")
        forecast = json.loads(done.stdout)["simulation"]
        build(tmp_path / "out", workers=0, limit=4)
        before, begun = stats(url)["requests"], time.monotonic()
        build(tmp_path / "out", workers=0)
        measured = time.monotonic() - begun
        requests = stats(url)["requests"] - before
    assert forecast["limit"] == "quota" and forecast["requests"] == requests
    assert forecast["hours"] * 3600 == pytest.approx(measured, rel=0.2)


def test_what_cannot_be_simulated_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--simulate.*speed"):
        Means.parse("speed=3")
    with pytest.raises(ConfigError, match=r"--simulate.*workers"):
        Means.parse("workers=0")
    plan = make_plan(folder(write_folder(tmp_path / "in", {"a": 2})), tmp_path / "out")
    with pytest.raises(ConfigError, match="no place would take any time"):
        simulate(plan, Means.parse("latency=0"))
