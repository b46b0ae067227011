"""Every recipe as `pipelines show` prints it, published and small."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.all import PIPELINES


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
