"""fMoW with its ground truth: coordinates that the images lost, names of test and seq, and parts of the whole."""

from __future__ import annotations

import bz2
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rsdata.build import build
from rsdata.fmow.metadata import Facts
from rsdata.plan import Plan, make_plan
from rsdata.sandbox.fmow_bucket import write_fmow_bucket
from rsdata.sources.fmow import FMoW
from shards.errors import ConfigError, UserError
from shards.index import Index
from shards.verify import verify

ALL = ("train", "val", "test", "seq")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bucket's tree on this machine."""
    folder = tmp_path_factory.mktemp("bucket") / "fmow-rgb"
    write_fmow_bucket(folder, 0, places=18, classes=3, size_px=40, max_views=3)
    return folder


def members(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]


def source(root: Path, tmp_path: Path, **options: Any) -> FMoW:
    truth = options.pop("metadata_root", root / "groundtruth.tar.bz2")
    return FMoW.build(root=root, metadata_root=truth, cache=tmp_path / "cache", **options)


def planned(config: FMoW, out: Path) -> tuple[Plan, dict[str, str]]:
    """A plan, and the split of each place in it."""
    plan = make_plan(config, out)
    items = [item for k in range(len(plan.info.shards)) for item in plan.items(k)]
    return plan, {item.id: item.split for item in items}


def test_every_view_of_four_splits_gets_its_coordinates_and_its_name(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    truth = members(root / "groundtruth.tar.bz2")
    digest = make_plan(source(root, tmp_path, subsets=ALL), out).info.plan_digest
    build(out, workers=0)
    assert verify(out).ok
    rows = Index.open(out).table.to_pylist()
    assert {row["split"] for row in rows} == set(ALL)
    hidden = {
        pair["output"]: pair["input"]
        for split in ("test", "seq")
        for pair in json.loads(truth[f"{split}_gt_mapping.json"])
    }
    expected = {}
    for image in root.rglob("*_rgb.jpg"):
        folder = image.parent.relative_to(root).as_posix()
        home = hidden.get(folder, folder)
        name = image.name.replace(image.parent.name, home.rsplit("/", 1)[1])
        data = truth.get(f"{home}/{name.replace('.jpg', '.json')}")
        facts = Facts.of(data) if data else Facts(error="none")
        if facts.error is None:
            expected[f"{folder}/{image.name}"] = (home.split("/")[1], facts.lon, facts.lat, facts.time)
    found = {
        row["source"]: (row["class_name"], row["lon"], row["lat"], row["time"].strftime("%Y-%m-%dT%H:%M:%SZ"))
        for row in rows
    }
    assert found == expected and any(name.startswith("seq/") for name in found)
    failures = pq.read_table(out / "failures.parquet").to_pylist()
    assert len(failures) == 2 and {row["class"] for row in failures} == {"invalid"}, (
        "the two spoiled JSON files"
    )
    assert {row["location"].partition("/")[0] for row in rows if "test/" in row["source"]} == {"test"}

    unpacked = tmp_path / "unpacked"
    for name, data in truth.items():
        path = unpacked / name.replace("train/", "train_gt/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    again = make_plan(source(root, tmp_path, subsets=ALL, metadata_root=unpacked), tmp_path / "again")
    assert again.info.plan_digest == digest, "an unpacked copy says the same"


def test_without_the_ground_truth_nothing_is_guessed(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"test and seq are numbers.*groundtruth\.tar\.bz2"):
        make_plan(FMoW.build(root=root, subsets=ALL), tmp_path / "out")
    make_plan(FMoW.build(root=root), tmp_path / "out")
    with pytest.raises(UserError, match="no coordinates"):
        build(tmp_path / "out", workers=0)


def test_an_archive_is_read_once(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_plan(source(root, tmp_path), tmp_path / "a")
    assert "is read once" in capsys.readouterr().err
    make_plan(source(root, tmp_path, images="msrgb"), tmp_path / "b")
    assert "is read once" not in capsys.readouterr().err
    urls = Plan.open(tmp_path / "b").items(0)[0].urls
    assert urls and all(url.endswith("_msrgb.jpg") for url in urls)


def test_parts_of_the_whole(root: Path, tmp_path: Path) -> None:
    whole, everything = planned(source(root, tmp_path, subsets=ALL), tmp_path / "whole")
    half, some = planned(source(root, tmp_path, subsets=ALL, fraction=0.5), tmp_path / "half")
    _, few = planned(source(root, tmp_path, subsets=ALL, fraction=0.25), tmp_path / "few")
    assert set(few) < set(some) < set(everything) and half.info.classes == whole.info.classes
    name = whole.info.classes[1]
    one, places = planned(source(root, tmp_path, subsets=ALL, classes=[name]), tmp_path / "one")
    assert set(places) == {id for id in everything if id.split("/")[1] == name}
    assert {item.label for item in one.items(0)} == {1}, "a label does not depend on what else is fetched"
    listed = Index.open(_built(whole.store.url)).table.to_pylist()
    country = listed[0]["country"]
    _, there = planned(source(root, tmp_path, subsets=ALL, countries=[country]), tmp_path / "country")
    assert {id.replace("/", "-").split("-")[-1] for id in there} == {
        row["location"].rsplit("/", 1)[1] for row in listed if row["country"] == country
    }
    hidden = next(row["location"] for row in listed if row["split"] == "test")
    _, two = planned(source(root, tmp_path, subsets=ALL, places=[hidden]), tmp_path / "place")
    assert [id.rsplit("/", 1)[1] for id in two] == [hidden.rsplit("/", 1)[1]]


def _built(out: str) -> str:
    build(out, workers=0)
    return out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["air_port"]}, r"no class 'air_port' \(--classes\); there is airport"),
        ({"places": ["train/zoo_0"]}, r"no place 'train/zoo_0' \(--places\)"),
        ({"countries": ["XXX"]}, "no place is in XXX"),
        ({"root": "https://example.com/fmow"}, "expected a folder or an s3:// URL"),
        ({"subsets": ["train", "train"]}, "each once"),
        ({"subsets": ["trian"]}, "some of train, val, test, seq"),
        ({"metadata_root": "/nowhere"}, "no such folder or file"),
    ],
)
def test_wishes_that_cannot_be_met(root: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {"root": root, "metadata_root": root / "groundtruth.tar.bz2"} | options
    with pytest.raises(ConfigError, match=message):
        make_plan(FMoW.build(cache=tmp_path / "cache", **values), tmp_path / "out")


def tarred(files: list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return bz2.compress(out.getvalue())


GOOD = ("train/zoo/zoo_0/zoo_0_0_rgb.json", b"{}")
BROKEN = {
    "text": (b"what is this", "is damaged or no tar archive"),
    "cut": (tarred([GOOD, ("x/big", bytes(range(256)) * 9999)])[:-300], "is damaged or no tar archive"),
    "other": (tarred([("notes.txt", b"hello")]), "holds no metadata of fMoW"),
    "twice": (tarred([GOOD, GOOD]), "zoo_0_0_rgb.json twice"),
    "huge": (tarred([(GOOD[0], bytes(2 << 20))]), "it is no metadata file of fMoW"),
    "mapping": (tarred([GOOD, ("test_gt_mapping.json", b'[{"input": "../../etc", "output": "x"}]')]), "not the published mapping"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_an_archive_that_is_none_is_one_sentence(root: Path, tmp_path: Path, name: str) -> None:
    data, message = BROKEN[name]
    (tmp_path / "truth.tar.bz2").write_bytes(data)
    with pytest.raises(UserError, match=message):
        make_plan(source(root, tmp_path, metadata_root=tmp_path / "truth.tar.bz2"), tmp_path / "out")
    cache = tmp_path / "cache"
    assert not cache.exists() or not list(cache.iterdir()), "nothing is kept of it"
