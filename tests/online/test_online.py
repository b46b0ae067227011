"""The real services, asked for two places each: `pytest tests/online --online`; not part of the suite.

Earth Search needs nothing. Earth Engine needs `earthengine authenticate` (or GOOGLE_APPLICATION_CREDENTIALS) and the
name of a registered Cloud project in the environment: EARTHENGINE_PROJECT. Options are all that differs from the
tests against the embedded planet.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "rsdata"))

from served_planet import check_accounts, check_patches, run

from shards.verify import verify

pytestmark = pytest.mark.skipif(
    "not config.getoption('--online')", reason="asks real services: pytest tests/online --online"
)
PLACES = "lon,lat\n13.40,52.52\n-122.42,37.77\n"


@pytest.fixture
def places(tmp_path: Path) -> Path:
    file = tmp_path / "places.csv"
    file.write_text(PLACES)
    return file


def build(out: Path, places: Path, *options: str) -> None:
    wide = ["--window-days", "60", "--seasons", "2021-07-01", "--seasons", "2020-07-01", "--shift-days", "0"]
    code, _, said = run(
        "run", "seco", out, "--places", places, *wide, "--cloud-percent", "30", *options, timeout=280
    )
    assert code == 0, said
    assert check_accounts(out) == (2, 0)
    assert check_patches(out) == 2 * 2 * 3
    assert verify(out).ok


def test_earth_search(tmp_path: Path, places: Path) -> None:
    build(tmp_path / "set", places, "--provider", "stac", "--threads", "8")


def test_earth_engine(tmp_path: Path, places: Path) -> None:
    project = os.environ.get("EARTHENGINE_PROJECT")
    if not project:
        pytest.skip("EARTHENGINE_PROJECT names no project")
    build(tmp_path / "set", places, "--project", project, "--threads", "8")
