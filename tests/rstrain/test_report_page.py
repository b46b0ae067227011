"""The report: complete, self-contained, escaped, and lenient with what is missing."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import Place, build_set, pattern
from rstrain.report import build_report
from rstrain.report.collect import ReportError
from rstrain.report.grids import world_map
from rstrain.report.svg import Line, curves, number, ticks


class Checker(HTMLParser):
    """Every element that opens closes, and nothing is fetched or run."""

    VOID = ("meta", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert tag not in ("script", "link", "iframe", "object")
        for name, value in attrs:
            if tag == "img" and name == "src":
                assert value is not None and value.startswith("data:image/png;base64,")
                continue
            assert name not in ("src", "href") and not name.startswith("on"), f"{tag} {name}={value}"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def check(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    assert not re.search(r"https?://|url\(|@import", text), "the page needs nothing from outside"
    assert "NaN" not in text and "nan" not in re.findall(r'd="[^"]*nan', text)
    return " ".join(checker.words)


def scores(task: str, source: str, top1: float, **changes: Any) -> dict[str, Any]:
    rows = [
        {"name": n, "support": 5, "precision_percent": 50.0, "recall_percent": 50.0, "f1_percent": f}
        for n, f in (("field", top1), ("<b>town", 40.0))
    ]
    return {
        "task": task,
        "protocol": {"size": 64, "k": 20},
        "checkpoint": {"source": source, "arch": "resnet18", "sha256": source},
        "data": {
            "path": "gone",
            "name": "s",
            "fingerprint": "f" * 64,
            "test_split": "test",
            "classes": ["field", "<b>town"],
        },
        "n_test": 10,
        "n_test_places": 5,
        "outcome": {
            "scores": {"top1_percent": top1, "temporal_top1_percent": top1 + 1},
            "intervals": {"top1_percent": [top1 - 5, top1 + 5]},
            "per_class": rows,
            "confusion": [[4, 1], [2, 3]],
            "details": {"lr": 0.1},
        },
        **changes,
    }


def make_run(folder: Path, data: str, top1: float) -> Path:
    (folder / "evals").mkdir(parents=True)
    (folder / "config.toml").write_text(f'data = "{data}"\narch = "resnet18"\n[method]\nkind = "moco"\n')
    lines = [
        {
            "step": s,
            "epoch": s / 10,
            "loss": 5.0 / (s + 1),
            "lr": 0.1,
            "samples_per_s": 9.0,
            "data_wait": 0.0,
            "embedding_std": 1.0,
        }
        for s in range(400)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 40')
    (folder / "environment.json").write_text(json.dumps({"processor": "A & B"}))
    (folder / "evals" / "linear.json").write_text(json.dumps(scores("linear", str(folder), top1)))
    (folder / "evals" / "random.json").write_text(json.dumps(scores("linear", "random", 20.0)))
    return folder


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    places = [Place([pattern(i, 16, 16)], label=i % 2, lon=179.9 - i, lat=-89.9 + i) for i in range(6)]
    build_set(tmp_path / "set", places, classes=["field", "<b>town"])
    runs = [
        make_run(tmp_path / name, str(tmp_path / "set"), top1)
        for name, top1 in (("a<i>", 61.25), ("b", 55.5))
    ]
    page = build_report(runs, tmp_path / "out" / "page.html", title="Fields & <towns>")
    words = check(page)
    for expected in (
        "Fields & <towns>",
        "a<i>",
        "61.25",
        "20.00",
        "temporal vote",
        "6 places with coordinates",
        "A & B",
    ):
        assert expected in words, expected
    assert page.read_text().count('<td class="n">20.00') == 1, (
        "the same random score in two folders counts once"
    )
    assert "1 line of metrics.jsonl cannot be read" in words
    assert "gone: is no shard set" in words, "data that a score names and is not there is said"
    assert page.stat().st_size < 300_000


def test_boxes_stand_beside_the_published_numbers_of_their_first_score(tmp_path: Path) -> None:
    (tmp_path / "run" / "evals").mkdir(parents=True)
    found = scores("detect", "random", 0.0, near={"within_1_km": 7}) | {
        "outcome": {"scores": {"ap_percent": 31.5, "ap50_percent": 58.25}}
    }
    found["data"] |= {"name": "dior", "classes": [f"class {i}" for i in range(20)]}
    (tmp_path / "run" / "evals" / "detect.json").write_text(json.dumps(found))
    page = build_report([tmp_path / "run"], tmp_path / "page.html")
    words = check(page)
    assert "detect: AP50, percent (dior, test)" in words and "detect: AP, percent" not in words
    chart = page.read_text().split("detect: AP50, percent")[-1]
    assert "67.8" in chart.split("</svg>")[0], "GeRSP-200 on DIOR, a dashed line"
    assert "7 test views lie within 1 km" in words


def test_scores_on_two_versions_of_a_set_are_not_compared(tmp_path: Path) -> None:
    """The same name and the same split, but other data: no common table, no common chart, no common best."""
    for name, mark, top1 in (("old", "a", 61.25), ("new", "b", 55.5)):
        run = tmp_path / name
        (run / "evals").mkdir(parents=True)
        found = scores("knn", name, top1)
        found["data"]["fingerprint"] = mark * 64
        (run / "evals" / "knn.json").write_text(json.dumps(found))
    page = build_report([tmp_path / "old", tmp_path / "new"], tmp_path / "page.html")
    words = check(page)
    assert words.count("knn on s, split test") == 2
    for mark, value, other in (("a", "61.25", "55.50"), ("b", "55.50", "61.25")):
        table = page.read_text().split(f"<code>{mark * 12}</code>")[1].split("</table>")[0]
        assert value in table and other not in table and "best" not in table
        chart = page.read_text().split(f"knn: top-1, percent (s, test, {mark * 12})")[-1].split("</svg>")[0]
        assert value[:4] in chart and other[:4] not in chart


def test_what_is_missing_is_said_and_what_is_no_run_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    with pytest.raises(ReportError, match="is no run folder"):
        build_report([bare], tmp_path / "x.html")
    with pytest.raises(ReportError, match="there is no such run folder"):
        build_report([tmp_path / "none"], tmp_path / "x.html")
    with pytest.raises(ReportError, match="is a folder"):
        build_report([bare], tmp_path)
    (bare / "config.toml").write_text("data = 'nowhere'\nmethod = [")
    (bare / "metrics.jsonl").write_text('{"step": 1, "loss": null}\n')
    (bare / "evals").mkdir()
    (bare / "evals" / "x.json").write_text("[1]")
    words = check(build_report([bare], tmp_path / "y.html"))
    for expected in (
        "config.toml is not valid TOML",
        "no environment.json",
        "evals/x.json is not a scores file",
        "No run has been evaluated",
        "no finite value",
    ):
        assert expected in words, expected


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30))
def test_any_values_make_a_curve_without_infinities(values: list[float]) -> None:
    text = curves("t", [Line("a", list(map(float, range(len(values)))), values, 0)])
    for path in re.findall(r'd="([^"]*)"', text):
        assert "nan" not in path and "inf" not in path


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_lie_within_and_are_few(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert len(found) <= 12
    slack = 1e-6 * (abs(low) + span)
    assert all(low - slack <= value <= low + span + slack for value in found)


def test_labels_are_short() -> None:
    assert [number(v) for v in (0, 0.03, 2.5, 1000, 25_000, 0.00012)] == [
        "0",
        "0.03",
        "2.5",
        "1000",
        "2.5e4",
        "1.2e-4",
    ]


def test_a_map_of_many_places_stays_small() -> None:
    lon = [-180 + 360 * math.fmod(i * 0.618034, 1) for i in range(50_000)]
    lat = [-90 + 180 * i / 49_999 for i in range(50_000)]
    text = world_map("many", lon, lat)
    assert len(text) < 800_000 and text.count("<circle") == 0 and 1 <= text.count('class="place') <= 5
