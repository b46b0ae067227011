"""`rsdata run geoimagenet` against the planet's Flickr: every photo meets its fate, nothing is asked twice."""

from __future__ import annotations

import hashlib
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from flickr_lists import ENV, KEY, calls, check_fates, check_rate, options, source
from image_trees import digests
from served_planet import run, start

from rsdata.build import Status, build
from rsdata.plan import make_plan
from rsdata.sandbox.flickr.lists import Truth, write_url_list
from rsdata.sandbox.flickr.photos import location_of
from rsdata.sandbox.serve import sandbox
from rsdata.sources.geoimagenet import GeoImageNet
from shards.errors import ConfigError
from shards.index import Index
from shards.verify import verify

SHARES = {
    "placeholder": 0.1, "missing": 0.1, "truncated": 0.05, "slow": 0.005, "private": 0.02, "nowhere": 0.2,
    "deleted": 0.05, "null": 0.02, "moved": 0.05, "busy": 0.02,
}  # fmt: skip
PROBLEMS = 3
"""Exit code of a finished set with failed items."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox() as base:
        yield base


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("list")


@pytest.fixture(scope="module")
def truths(folder: Path) -> list[Truth]:
    return write_url_list(folder / "urls.txt", 200, shares=SHARES, places=5)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def calm(url: str, folder: Path, truths: list[Truth]) -> tuple[Path, str]:
    """An undisturbed build, and everything that it said."""
    out = folder / "calm"
    code, said, told = run(
        "run",
        "geoimagenet",
        out,
        *options(folder, url, folder / "calm.jsonl", "--ask-licences"),
        "--workers",
        0,
        env=ENV,
    )
    assert code == PROBLEMS, said + told
    return out, said + told


def test_each_photo_is_kept_or_fails_as_planned(calm: tuple[Path, str], truths: list[Truth]) -> None:
    out, _ = calm
    assert check_fates(out, truths) == 92
    assert verify(out).ok
    index = Index.open(out)
    assert set(index.info.classes) == {f"{name} {_word(name)}" for name in {t.wnid for t in truths}}
    by_id = {truth.id: truth for truth in truths}
    for row in index.table.to_pylist():
        truth = by_id[row["photo_id"]]
        assert (row["wnid"], row["url"], index.info.classes[row["label"]].split()[0]) == (
            truth.wnid, truth.url, truth.wnid,
        )  # fmt: skip
        assert (row["lon"], row["lat"]) == location_of(truth.id, 0)
        assert 11 <= row["accuracy"] <= 16 and row["locality"] and len(row["country"]) == 3
        assert (
            row["licence"] in ("All Rights Reserved", "Attribution License")
            or "NonCommercial" in row["licence"]
        )
        assert row["taken"].startswith("2009-07-")
        moved = truth.fate == "moved"
        assert (
            (row["source"] == truth.url)
            if moved
            else row["source"].startswith("https://live.staticflickr.com/")
        )


def _word(wnid: str) -> str:
    from rsdata.sandbox.flickr.lists import WORDS

    return WORDS[wnid]


def test_the_key_is_nowhere(calm: tuple[Path, str], folder: Path) -> None:
    _, said = calm
    assert KEY not in said
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def built(out: Path, config: GeoImageNet, patch: pytest.MonkeyPatch) -> Status:
    """A build in this process."""
    patch.setenv("FLICKR_API_KEY", KEY)
    make_plan(config, out)
    return build(out, workers=0)


def test_who_has_asked_once_never_asks_again(
    url: str, calm: tuple[Path, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = len(calls(url))
    config = source(folder, url, folder / "calm.jsonl", ask_licences=True)
    assert built(tmp_path / "set", config, monkeypatch).samples == 92
    assert len(calls(url)) == before
    expected, found = digests(calm[0]), digests(tmp_path / "set")
    assert {n: d for n, d in found.items() if n != "plan.parquet"} == {
        n: d for n, d in expected.items() if n != "plan.parquet"
    }


@pytest.mark.slow
def test_kills_and_faults_change_nothing(
    calm: tuple[Path, str], folder: Path, truths: list[Truth], tmp_path: Path
) -> None:
    out, dice, killed = tmp_path / "set", random.Random(0), 0
    with sandbox(faults=["500@photos=0.05", "429=0.05", "cut=0.05"]) as url:
        given = options(folder, url, tmp_path / "cache.jsonl", "--ask-licences")
        command = ["run", "geoimagenet", out, *given, "--workers", 0]
        for _ in range(2):
            asked = len(calls(url)) + dice.randint(20, 60)
            process = start(*command, env=ENV)
            while process.poll() is None and len(calls(url)) < asked:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += process.returncode == -signal.SIGKILL and not (out / "dataset.json").exists()
        assert killed == 2
        code, said, told = run(*command, env=ENV)
        assert code == PROBLEMS, said + told
        counted = len(calls(url))
    assert check_fates(out, truths) == 92
    expected, found = digests(calm[0]), digests(out)
    assert {n: d for n, d in found.items() if n != "plan.parquet"} == {
        n: d for n, d in expected.items() if n != "plan.parquet"
    }
    assert counted < 1.5 * len(truths), "answers survive a kill"
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
def test_three_processes_share_one_quota(tmp_path: Path) -> None:
    with sandbox() as url:
        processes = []
        for number in range(3):
            part = tmp_path / str(number)
            part.mkdir()
            write_url_list(part / "urls.txt", 20, seed=number, shares={"nowhere": 1.0}, places=2)
            given = options(part, url, part / "cache.jsonl", "--quota", 72_000)
            processes.append(start("run", "geoimagenet", part / "set", *given, "--workers", 0, env=ENV))
        ends = [process.communicate(timeout=60) for process in processes]
        assert all("all 20 items failed" in told for _, told in ends), ends
        found = calls(url)
    assert len(found) == 60
    check_rate([at for _, at in found], 20)


def test_a_missing_or_bad_key_is_one_sentence(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = source(tmp_path, url, tmp_path / "cache.jsonl")
    for key, expected in (("", "FLICKR_API_KEY: is not set"), ("hunter2", "does not accept the key")):
        monkeypatch.setenv("FLICKR_API_KEY", key)
        with pytest.raises(ConfigError, match=expected) as error:
            config.ready()
        assert "hunter2" not in str(error.value)


def test_a_torn_line_of_the_cache_is_asked_again(tmp_path: Path) -> None:
    from rsdata.flickr.answers import Answers

    path = tmp_path / "cache.jsonl"
    first = Answers(path)
    first.put("location", 1, {"status": "none"})
    first.put("location", 2, {"status": "ok", "lon": 8.5, "lat": 47.4})
    first.put("location", 3, {"status": "error", "reason": "busy"})
    with path.open("ab") as file:
        file.write(b'{"photo": 4, "of": "location", "sta')
    second = Answers(path)
    assert second.get("location", 1) == {"status": "none"}
    assert second.get("location", 2) == {"status": "ok", "lon": 8.5, "lat": 47.4}
    assert [second.get("location", photo) for photo in (3, 4)] == [None, None]
    second.put("location", 4, {"status": "gone"})
    assert first.get("location", 4) == {"status": "gone"}, "another process sees what this one learned"
    assert first.get("info", 4) is None


def fall11(folder: Path) -> Path:
    path = folder / "fall11.txt"
    lines = [
        "n01440764_1\thttp://farm1.static.flickr.com/1/101_abcdef0123.jpg",
        "n01440764_2\thttp://farm1.static.flickr.com/1/102_abcdef0123.jpg",
        "n01440764_3\thttp://example.org/caf\xe9.jpg",
        "n01440764_4\thttp://farm2.static.flickr.com/1/101_abcdef0123_m.jpg",
        "n02000001_1\thttp://farm1.static.flickr.com/1/102_abcdef0123.jpg",
        "n02000001_2\thttp://www.flickr.com/groups/tench/",
        *(f"n02000001_{n}\thttps://live.staticflickr.com/7/{n}_abcdef0123.jpg" for n in range(200, 220)),
        *(f"n03000001_{n}\thttps://live.staticflickr.com/7/{n}_abcdef0123.jpg" for n in range(300, 310)),
        "",
        "no line of any form",
    ]
    path.write_bytes("\r\n".join(lines).encode("latin-1"))
    (folder / "names.txt").write_text("n01440764\ttench, Tinca\nn02000001\tqueen\nn03000001\tqueen, bee\n")
    return path


def test_lists_are_read_as_they_are(tmp_path: Path) -> None:
    path = fall11(tmp_path)
    source = GeoImageNet.build(urls=path, class_names=tmp_path / "names.txt")
    listing = source.listing()
    assert listing.classes == ["n01440764 tench", "n02000001 queen", "n03000001 queen"]
    assert len(listing.items) == 32 and {item.label for item in listing.items} == {0, 1, 2}
    assert listing.notes == {
        "URLs that are not of Flickr": 1,
        "URLs of Flickr that name no photo": 1,
        "photos listed again": 1,
        "photos of a class before this one": 1,
        "lines without a wnid": 1,
    }
    with pytest.raises(ConfigError, match="'queen' is the name of n02000001, n03000001"):
        GeoImageNet.build(urls=path, class_names=tmp_path / "names.txt", classes=("queen",)).listing()
    named = GeoImageNet.build(
        urls=path, class_names=tmp_path / "names.txt", classes=("tench", "n03000001")
    ).listing()
    assert named.classes == ["n01440764 tench", "n03000001 queen"] and len(named.items) == 12


def test_other_forms_of_lists_plan_the_same(tmp_path: Path) -> None:
    expected = [item.id for item in GeoImageNet.build(urls=fall11(tmp_path)).listing().items]
    rows = [line.split("\t") for line in fall11(tmp_path).read_text("latin-1").splitlines() if "\t" in line]
    (tmp_path / "urls").mkdir()
    for wnid in {key.split("_")[0] for key, _ in rows}:
        text = "\n".join(url for key, url in rows if key.startswith(wnid))
        (tmp_path / "urls" / f"{wnid}.txt").write_text(text, encoding="latin-1")
    table = "\n".join(["key,url", *(f"{key},{url}" for key, url in rows)])
    (tmp_path / "urls.csv").write_text(table, encoding="utf-8")
    for name in ("urls", "urls.csv"):
        found = GeoImageNet.build(urls=tmp_path / name).listing()
        assert [item.id for item in found.items] == expected, name


def test_draws_are_of_classes_with_enough_and_longer_plans_begin_alike(tmp_path: Path) -> None:
    path = fall11(tmp_path)
    drawn = GeoImageNet.build(urls=path, draw_classes=1, images_per_class=12).listing()
    assert drawn.classes == ["n02000001"] and len(drawn.items) == 12
    with pytest.raises(ConfigError, match="1 classes have 14 photos or more"):
        GeoImageNet.build(urls=path, draw_classes=2, images_per_class=12).listing()
    few, many = (GeoImageNet.build(urls=path, images_per_class=n, fill=3).listing() for n in (2, 5))
    assert {item.id for item in few.items} < {item.id for item in many.items}
    assert {item.id for item in few.reserves} | {i.id for i in few.items} == {i.id for i in many.items} | {
        "n01440764/101", "n01440764/102",
    }  # fmt: skip
    assert [item.label for item in few.reserves] == [1, 2, 1, 2, 1, 2], "reserves come class by class in turn"
    assert many.notes["classes with fewer photos than asked for"] == 1


def test_reserves_stand_in_for_photos_without_a_place(
    url: str, folder: Path, calm: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"images_per_class": 6, "fill": 14, "squash": 64, "samples_per_shard": 100}
    status = built(tmp_path / "set", source(folder, url, folder / "calm.jsonl", **more), monkeypatch)
    index = Index.open(tmp_path / "set")
    assert status.items == 6 * len(index.info.classes) and status.reserves_tried >= 10
    refused = status.failed.get("refused", 0)  # says nothing of the archive, so nothing stands in for it
    assert status.samples == status.items - refused
    rows = index.table.to_pylist()
    assert {(row["width"], row["height"]) for row in rows} == {(64, 64)}, "squashed as published"
    assert all("photo.gne?id=" in row["licence"] for row in rows), "licences were not asked for"


def test_a_picture_that_the_user_names_is_no_photo(
    url: str, folder: Path, calm: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.open(calm[0])
    digest = hashlib.sha256(index.read(0)).hexdigest()
    wnid = index.table["wnid"][0].as_py()
    config = source(folder, url, folder / "calm.jsonl", placeholder=(digest,), classes=(wnid,))
    status = built(tmp_path / "set", config, monkeypatch)
    assert status.samples == index.table["wnid"].to_pylist().count(wnid) - 1
    failures = pq.read_table(tmp_path / "set" / "failures.parquet").to_pylist()
    assert [row["class"] for row in failures if "--placeholder names" in row["reason"]] == ["gone"]


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    for given, expected in (
        ({"size": 64, "squash": 64}, "squash"),
        ({"fill": 3}, "images-per-class"),
        ({"endpoint": "http://192.168.1.1"}, "the key is sent there"),
        ({"placeholder": ("abc",)}, "not a sha256"),
        ({"classes": ("tench",)}, "names need --class-names"),
    ):
        with pytest.raises(ConfigError, match=expected):
            GeoImageNet.build(urls=fall11(tmp_path), **given).listing()
    estimate = GeoImageNet.build(urls=fall11(tmp_path)).estimate(7_065_092)
    assert round(estimate["days_at_quota"]) == 82, "what the quota of one key means for the whole list"
