"""Replay of recorded numbers: one test per case file found, whatever its name after the family."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `case` and is marked `family("moco/logits_cpc")` runs once for each `<family>.*` case."""
    marker = metafunc.definition.get_closest_marker("family")
    if marker is None or "case" not in metafunc.fixturenames:
        return
    (family,) = marker.args
    folder = metafunc.config.getoption("--golden") / Path(family).parent
    prefix = Path(family).name + "."
    cases = sorted({prefix + p.name.removeprefix(prefix).split(".")[0] for p in folder.glob(prefix + "*")})
    if not cases:
        skip = pytest.mark.skip(reason=f"no recorded case of {family} in {folder}: give --golden DIR")
        metafunc.parametrize("case", [pytest.param(None, marks=skip, id=family)])
        return
    metafunc.parametrize("case", [folder / name for name in cases], ids=cases)
