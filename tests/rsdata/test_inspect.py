from __future__ import annotations

import csv
import html.parser
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from builders import Place, build_set, damage, pattern
from rsdata.inspect.export_folder import export_folder
from rsdata.inspect.info import set_facts
from rsdata.inspect.merge import merge
from rsdata.inspect.preview import preview
from rsdata.inspect.reshard import reshard
from rsdata.inspect.stats import stats
from rsdata.inspect.views import stretched
from shards.codec import decode
from shards.errors import ShardError, UserError
from shards.index import Index
from shards.verify import verify


def places(start: int, count: int, *, split: str = "train") -> list[Place]:
    return [
        Place(
            [pattern(7 * i + v, 24, 20) for v in range(1 + i % 3)],
            key=f"p{i}",
            label=i % 2,
            split=split,
            lon=i * 10.0 - 50,
            lat=i * 5.0 - 20,
            times=[f"{2016 - v}-0{1 + v}-15T00:00:00Z" for v in range(1 + i % 3)],
            extra={"country": f"C{i}"},
        )
        for i in range(start, start + count)
    ]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    many = places(0, 7) + places(7, 2, split="val")
    build_set(
        tmp_path / "a", many, samples_per_shard=3, classes=["farm", "town"], extra={"country": pa.string()}
    )
    return tmp_path / "a"


def views(folder: Path) -> list[tuple[str, str, bytes]]:
    index = Index.open(folder)
    return [(index.keys([r])[0], index.table["member"][r].as_py(), index.read(r)) for r in range(len(index))]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_reshard_moves_samples_and_changes_nothing(built: Path, tmp_path: Path, size: int) -> None:
    report = reshard(built, tmp_path / "b", samples_per_shard=size)
    assert report.shards == {1: 9, 2: 5, 100: 1}[size]
    assert verify(tmp_path / "b").ok
    assert views(tmp_path / "b") == views(built)
    old, new = Index.open(built).table, Index.open(tmp_path / "b").table
    moved = {"shard", "offset", "sample_offset"}
    kept = [name for name in old.column_names if name not in moved]
    assert new.select(kept).equals(old.select(kept))
    with pytest.raises(UserError, match="there is a finished shard set already"):
        reshard(built, tmp_path / "b", samples_per_shard=size)


def test_reshard_back_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    reshard(built, tmp_path / "b", samples_per_shard=2)
    reshard(tmp_path / "b", tmp_path / "c", samples_per_shard=3)
    for tar in built.glob("*.tar"):
        assert tar.read_bytes() == (tmp_path / "c" / tar.name).read_bytes()


def test_reshard_refuses_damage_and_a_folder_with_other_things(built: Path, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.doc").touch()
    with pytest.raises(UserError, match=r"is not empty \(thesis\.doc is there\)"):
        reshard(built, tmp_path / "b", samples_per_shard=2)
    damage(built, "set-000001.tar", 1100)
    with pytest.raises(ShardError, match="sample p3 is damaged"):
        reshard(built, tmp_path / "c", samples_per_shard=2)
    assert not (tmp_path / "c" / "dataset.json").exists()


def test_a_new_set_takes_no_folder_that_holds_something(built: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ShardError, match="Not a directory"):
        reshard(built, tmp_path / "file", samples_per_shard=4)
    (tmp_path / "photos" / "2024").mkdir(parents=True)
    with pytest.raises(UserError, match=r"is not empty \(2024 is there\)"):
        reshard(built, tmp_path / "photos", samples_per_shard=4)


def test_merge_unites_classes_by_name_and_rewrites_labels(built: Path, tmp_path: Path) -> None:
    build_set(tmp_path / "b", places(20, 4), classes=["airport", "town"], extra={"country": pa.string()})
    report = merge([built, tmp_path / "b"], tmp_path / "both")
    assert verify(tmp_path / "both").ok
    assert (report.samples, report.classes) == (13, 3)
    index = Index.open(tmp_path / "both")
    assert index.info.classes == ["airport", "farm", "town"]
    assert [s.name for s in index.info.shards][-1] == "both-val-000000.tar"
    old = {key: data for key, _, data in views(built) + views(tmp_path / "b")}
    for row in range(len(index)):
        key = index.keys([row])[0]
        number = int(key[1:])
        expected = (["farm", "town"] if number < 20 else ["airport", "town"])[number % 2]
        assert index.info.classes[index.table["label"][row].as_py()] == expected
        if index.table["member"][row].as_py() == "png":
            assert index.read(row) == old[key]
            region = index.sample_bytes(row)
            assert region[512:513] == str(index.info.classes.index(expected)).encode(), (
                "the cls member says so too"
            )
    assert stats(tmp_path / "both").same


def test_merge_refuses_what_cannot_be_one_set(built: Path, tmp_path: Path) -> None:
    build_set(tmp_path / "b", places(8, 2), extra={"country": pa.string()})
    with pytest.raises(UserError, match=rf"key 'p8' of {tmp_path}/b is 'p8' of {built} already; .*--prefix"):
        merge([built, tmp_path / "b"], tmp_path / "both")
    merge([built, tmp_path / "b"], tmp_path / "both", prefix=["a", "b"])
    assert verify(tmp_path / "both").ok
    assert "b-p8" in Index.open(tmp_path / "both").table["key"].to_pylist()
    build_set(tmp_path / "c", [pattern(1, bands=4)], ending="npy")
    with pytest.raises(UserError, match="they cannot be one set"):
        merge([built, tmp_path / "c"], tmp_path / "no")
    with pytest.raises(UserError, match="two or more sets"):
        merge([built], tmp_path / "no")
    with pytest.raises(UserError, match="1 --prefix for 2 sets"):
        merge([built, tmp_path / "b"], tmp_path / "no", prefix=["a"])
    assert not (tmp_path / "no").exists()


def test_stats_are_those_of_the_pixels(built: Path, tmp_path: Path) -> None:
    report = stats(built)
    assert report.same
    index = Index.open(built)
    pixels = np.concatenate([decode("png", index.read(r)).reshape(-1, 3) for r in range(len(index))]).astype(
        float
    )
    for band, values in zip(report.bands, pixels.T, strict=True):
        assert band.mean == pytest.approx(values.mean())
        assert band.std == pytest.approx(values.std())
        assert (band.minimum, band.maximum) == (values.min(), values.max())
        assert abs(band.quantiles["0.5"] - np.median(values)) <= 1
    assert stats(built, quick=True).bands == report.bands


def test_facts_of_a_set(built: Path) -> None:
    facts = set_facts(built)
    assert facts.views_per_sample == (1, 2.0, 3)
    assert facts.bbox == (-50, -20, 30, 20)
    assert facts.times is not None
    assert [time[:10] for time in facts.times] == ["2014-03-15", "2016-01-15"]
    assert facts.places == 9
    json.dumps(facts.to_dict())


def test_the_preview_is_one_page_that_asks_for_nothing(built: Path, tmp_path: Path) -> None:
    preview(built, tmp_path / "p.html", places=6)
    text = (tmp_path / "p.html").read_text()
    html.parser.HTMLParser().feed(text)
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "<script" not in text
    assert text.count('class="card"') == 6
    assert text.count("<circle") == 9
    dates = re.findall(r"<figcaption>([\d-]+)</figcaption>", text)
    assert {"2014-03-15", "2015-02-15", "2016-01-15"} <= set(dates)
    several = dates[dates.index("2014-03-15") :][:3]
    assert several == sorted(several), "in order of time"
    assert text.count("Views of each class") == 1
    preview(built, tmp_path / "q.html", places=6)
    assert (tmp_path / "q.html").read_text() == text
    with pytest.raises(UserError, match=r"ends in \.html"):
        preview(built, tmp_path / "p.htm")


def test_seasons_share_a_stretch_that_one_cloud_does_not_spoil() -> None:
    field = np.linspace(300, 2300, 64 * 64, dtype=np.uint16).reshape(64, 64, 1).repeat(3, 2)
    cloud = np.full_like(field, 9000)
    first, white, second = stretched([field, cloud, field + 100])
    assert (first.min(), white.min()) == (0, 255) and 0 < (second.astype(int) - first).mean() < 20
    haze = [np.full_like(field, level) for level in (300, 500, 700, 900)]
    levels = [float(image.mean()) for image in stretched(haze)]
    assert levels == sorted(levels) and 0 < levels[1] < levels[2] < 255, "water is grey, not black and white"
    assert stretched([field.astype(np.uint8)])[0].dtype == np.uint8


def test_the_preview_escapes_names_and_shows_sets_without_places(tmp_path: Path) -> None:
    index = build_set(tmp_path / "s", [Place([pattern(i)], label=0) for i in range(3)], classes=["<b>&"])
    damage(tmp_path / "s", "set-000000.tar", int(index.table["offset"][0].as_py()) + 200)
    with pytest.raises(ShardError, match="is damaged"):
        preview(tmp_path / "s", tmp_path / "p.html")
    build_set(tmp_path / "t", [Place([pattern(i)], label=0) for i in range(3)], classes=["<b>&"])
    preview(tmp_path / "t", tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text()
    assert "&lt;b&gt;&amp;" in text
    assert "<b><b>" not in text
    assert 'class="map"' not in text


def test_export_gives_the_files_back(built: Path, tmp_path: Path) -> None:
    report = export_folder(built, tmp_path / "out")
    with (tmp_path / "out" / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == report.files == 18
    for row, (_, _, data) in zip(rows, views(built), strict=True):
        assert (tmp_path / "out" / row["path"]).read_bytes() == data
    assert rows[0]["path"] == "train/farm/p0.png"
    assert rows[-1]["path"] == "val/farm/p8.002.png"
    assert rows[0]["country"] == "C0"
    with pytest.raises(UserError, match="is there already and not empty"):
        export_folder(built, tmp_path / "out")
    damage(built, "set-000002.tar", Index.open(built).table["offset"][17].as_py())
    with pytest.raises(ShardError, match="is damaged"):
        export_folder(built, tmp_path / "broken")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "out"], "nothing half"


@pytest.mark.slow
def test_the_commands_speak_json(built: Path, tmp_path: Path) -> None:
    for args in (
        ["info", str(built)],
        ["stats", str(built), "--quick"],
        ["reshard", str(built), str(tmp_path / "r"), "--samples-per-shard", "4"],
        ["merge", str(built), str(built), str(tmp_path / "m"), "--prefix", "x", "--prefix", "y"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "rsdata", *args, "--json"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), dict)
    done = subprocess.run(
        [sys.executable, "-m", "rsdata", "info", str(tmp_path / "none")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
