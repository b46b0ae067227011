"""Every recipe as `pipelines show` prints it, published and small."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.all import PIPELINES
from pipelines.runner import run_pipeline


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("size", ["full", "small"])
def test_stages_follow_each_other_and_end_with_a_page(name: str, size: str, tmp_path: Path) -> None:
    kind = PIPELINES[name]
    known = kind.model_fields
    values = {"size": size} if name != "quickstart" else {}
    if "eval_data" in known:
        values["eval_data"] = "data/labelled"
    stages = kind.build(**values).stages(tmp_path)
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.needs) <= seen, f"{stage.name} needs what comes later"
        assert stage.makes.is_relative_to(tmp_path)
        seen.add(stage.name)
    assert stages[-1].makes.suffix == ".html"


def test_other_data_are_another_stage(tmp_path: Path) -> None:
    """Else a second set under the same --out would be answered with the scores of the first."""
    first, second = (
        PIPELINES["seco"].build(data=data, eval_data=data).stages(tmp_path) for data in ("data/a", "data/b")
    )
    assert first[0].config != second[0].config
    assert first[1].config != second[1].config


def test_seco_begins_at_the_source_unless_data_are_given(tmp_path: Path) -> None:
    sampled = PIPELINES["seco"].build(project="p", locations=50).stages(tmp_path)
    assert [stage.name for stage in sampled] == ["sample", "train", "report"]
    assert sampled[0].config["locations"] == 50 and sampled[1].needs == ("sample",)
    served = PIPELINES["seco"].build(size="small").stages(tmp_path)[0]
    assert "embedded planet" in served.does and served.config["locations"] == 160
    assert (
        "embedded planet"
        not in PIPELINES["seco"].build(size="small", endpoint="https://x").stages(tmp_path)[0].does
    )
    given = PIPELINES["seco"].build(data="data/a").stages(tmp_path)
    assert [stage.name for stage in given] == ["train", "report"]


def test_sn7_begins_at_the_archive_if_there_is_one(tmp_path: Path) -> None:
    cut = PIPELINES["sn7-vicreg"].build(root="data/sn7").stages(tmp_path)
    assert [stage.name for stage in cut] == ["patches", "train", "report"]
    assert cut[0].config["split"] == "aoi" and cut[1].needs == ("patches",)
    given = PIPELINES["sn7-vicreg"].build(data="data/a").stages(tmp_path)
    assert [stage.name for stage in given] == ["train", "report"]


@pytest.mark.slow
def test_seco_from_the_planet_to_a_page(tmp_path: Path) -> None:
    """Places are fetched from a server of the stage's own; the second call does nothing."""
    small = PIPELINES["seco"].build(size="small", locations=16)
    assert not any(outcome.skipped for outcome in run_pipeline(small, tmp_path))
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert all(outcome.skipped for outcome in run_pipeline(small, tmp_path))
