"""`rsdata run seco` as a user runs it, against the planet in a process of its own: whatever happens, the same bytes."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_planet import FAULTS, check_accounts, check_patches, made, options, planet, run, start, stats

from shards.verify import verify

pytestmark = pytest.mark.slow
PLACES = ["--locations", 8, "--fill", 2, "--seed", 0, "--samples-per-shard", 3]
PROBLEMS = 3
"""Exit code of a finished set with failed items."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with planet() as base:
        yield base


@pytest.fixture(scope="module")
def calm(url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The set of an undisturbed build with eight calls at once."""
    out = tmp_path_factory.mktemp("calm") / "set"
    code, _, said = run("run", "seco", out, *PLACES, *options(url, "--threads", 8))
    assert code == PROBLEMS, said
    return out


def test_a_build_is_whole_and_accounts_for_every_place(calm: Path) -> None:
    done, failed = check_accounts(calm)
    assert done >= 6 and failed >= 1
    assert check_patches(calm) == done * 5 * 3
    assert verify(calm).ok
    code, said, _ = run("verify", calm)
    assert (code, said.strip().endswith("bytes)")) == (0, True), said


def test_the_same_bytes_with_one_thread(url: str, calm: Path, tmp_path: Path) -> None:
    code, _, said = run(
        "run", "seco", tmp_path / "set", *PLACES, *options(url, "--threads", 1), "--workers", 1
    )
    assert code == PROBLEMS, said
    assert made(tmp_path / "set") == made(calm)


def test_the_same_bytes_where_one_request_of_five_fails(calm: Path, tmp_path: Path) -> None:
    with planet(*FAULTS) as wild:
        code, _, said = run("run", "seco", tmp_path / "set", *PLACES, *options(wild, "--threads", 8))
    assert code == PROBLEMS, said
    assert made(tmp_path / "set") == made(calm)


def test_the_same_bytes_after_kills(url: str, calm: Path, tmp_path: Path) -> None:
    dice, out, midway = random.Random(0), tmp_path / "set", 0
    command = ["run", "seco", out, *PLACES, *options(url, "--threads", 8)]
    for _ in range(4):
        asked = stats(url)["requests"] + dice.randint(1, 24)
        process = start(*command)
        while process.poll() is None and stats(url)["requests"] < asked:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        midway += process.returncode == -signal.SIGKILL and not (out / "dataset.json").exists()
    assert midway >= 2
    code, _, said = run(*command)
    assert code == PROBLEMS, said
    assert made(out) == made(calm)
    assert not list(out.rglob("*.part"))


def test_places_that_the_network_lost_are_retried_to_the_same_bytes(
    url: str, calm: Path, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    with planet("--fault", "nan@computePixels=0.75") as wild:  # more than the client puts up with
        code, said, _ = run("run", "seco", out, *PLACES, *options(wild, "--threads", 8))
    assert code == PROBLEMS and "transient" in said and "next: rsdata retry" in said, said
    assert "invalid" not in said
    code, _, said = run("plan", "seco", out, *PLACES, *options(url, "--threads", 8))
    assert code == 0, said
    code, _, said = run("retry", out)
    assert code == PROBLEMS, said
    check_accounts(out)
    expected, found = made(calm), made(out)
    for name in expected:  # attempts are counted there
        assert name == "failures.parquet" or found[name] == expected[name]
    shutil.rmtree(out)
