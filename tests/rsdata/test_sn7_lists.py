"""`sn7-csv`: what is in the lists, what held-out patches share with the others, and where areas are said to lie."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from rsdata.curate.configs import Sn7CsvConfig, Sn7Split
from rsdata.curate.sn7_csv import COLUMNS, sn7_csv
from rsdata.curate.sn7_files import Month, months_of, scan
from rsdata.curate.sn7_leakage import Leakage, leakage
from rsdata.curate.sn7_nominatim import ask
from rsdata.curate.sn7_places import Address, Place, find_places, gazetteer, placed
from rsdata.curate.sn7_published import mixed42
from rsdata.curate.sn7_splits import Patch, assign
from rsdata.curate.sn7_table import COUNTRIES, FROZEN, TRAIN_IMAGES, tile_centre
from rsdata.sandbox.serve import Request, Response, sandbox
from rsdata.sandbox.sn7_tree import TEST, TRAIN, write_sn7_tree
from shards.errors import ConfigError, UserError

CALENDAR = [f"{2017 + m // 12}-{m % 12 + 1:02d}" for m in range(6, 37) if m != 11]
"""2017-07 … 2020-01 without 2017-12."""


def release() -> list[Month]:
    """The images of the release as the table counts them."""
    months = []
    for country in COUNTRIES:
        for n, area in enumerate(country.areas):
            count = (country.images + n) // len(country.areas)
            for month in CALENDAR[:count]:
                name = f"global_monthly_{month.replace('-', '_')}_mosaic_{area}.tif"
                months.append(Month(area, month, f"train/{area}/images/{name}", 1, None))
    return sorted(months, key=lambda month: (month.area, month.month))


def spots() -> dict[str, Place]:
    places = {}
    for area in FROZEN:
        centre = tile_centre(area)
        assert centre is not None
        places[area] = placed(area, *centre, Address())
    return places


def divided(options: Sn7Split) -> tuple[dict[str, set[Patch]], Leakage]:
    split = assign(options, release(), spots())
    sides = {name: {patch for patch, side in split.items() if side == name} for name in ("train", "val")}
    return sides, leakage("val", sides["train"], sides["val"], spots())


def test_the_table_is_that_of_the_release() -> None:
    assert len(COUNTRIES) == 31 and len(FROZEN) == 60
    assert sum(country.images for country in COUNTRIES) == TRAIN_IMAGES == len(release()) == 1423
    centres = [tile_centre(area) for area in FROZEN]
    found = gazetteer([centre for centre in centres if centre is not None])
    assert [said.iso for said in found] == [country.iso for country in FROZEN.values()]


@pytest.mark.parametrize("seed", [0, 42])
def test_whole_areas_leak_nothing(seed: int) -> None:
    sides, found = divided(Sn7Split(seed=seed))
    assert (found.leaked, found.same_area, found.same_image, found.shared_areas) == (0, 0, 0, ())
    assert len({patch.area for patch in sides["val"]}) == 15, "a quarter of 60"
    assert found.only_held_out_countries == (), "every held-out label is known"
    assert min(km for _, km in found.nearest_km.values()) >= 10
    assert len(sides["train"]) + len(sides["val"]) == 1423 * 16
    assert divided(Sn7Split(seed=seed))[0] == sides


def test_published_splits_leak_as_measured() -> None:
    sides, found = divided(Sn7Split(split="image"))
    assert (len(sides["train"]), len(sides["val"])) == (1067 * 16, 356 * 16)
    assert found.same_area == found.leaked == found.patches and found.same_image == 0
    sides, found = divided(Sn7Split(split="patch"))
    assert found.same_area == found.leaked == found.patches
    assert found.share(found.same_image) > 0.99
    sides, found = divided(Sn7Split(split="temporal", last_months=6))
    assert sorted({patch.month for patch in sides["val"]}) == sorted({m.month for m in release()})[-6:]
    assert found.share(found.leaked) == 1.0


def test_the_replay_of_the_study_leaks_all_of_it(tmp_path: Path) -> None:
    """1,423 images become 1,066 and 356, then 17,016 and 5,672 patches; the lost ones are in neither."""
    rows = [f"{month.name},,State,{FROZEN[month.area].iso}" for month in release()]
    path = tmp_path / "ids_and_labels_encoded.csv"
    path.write_text("\n".join(["Image_id,City,State,Country", *rows]) + "\n")
    train, val = mixed42(path.read_text())
    assert (len(train), len(val)) == (17_016, 5_672)
    assert train[0].split(",")[1:3] == ["nan", "State"]
    sides, found = divided(Sn7Split(split="compat-mixed42", images_list=path))
    assert (len(sides["train"]), len(sides["val"])) == (17_016, 5_672)
    assert found.share(found.same_area) == found.share(found.leaked) == 1.0
    with pytest.raises(ConfigError, match="needs --images-list"):
        divided(Sn7Split(split="compat-mixed42"))
    path.write_text("a\n1\n")
    with pytest.raises(ConfigError, match=r"--images-list|not the study's list"):
        divided(Sn7Split(split="compat-mixed42", images_list=path))


def test_areas_that_touch_stay_together() -> None:
    pair = {"L15-1669E-1160N_6678_3548_13", "L15-1669E-1160N_6679_3549_13"}
    both = [{patch.area for patch in divided(Sn7Split(seed=seed))[0]["val"]} & pair for seed in range(12)]
    assert set() in both and pair in both and {0, 2} == {len(found) for found in both}
    months = [month for month in release() if month.area in pair]
    with pytest.raises(ConfigError, match="none of 2 areas can be held out"):
        assign(Sn7Split(), months, spots())
    alone = assign(Sn7Split(apart_km=0, val_fraction=0.5), months, spots())
    assert set(alone.values()) == {"train", "val"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sn7") / "tree"
    write_sn7_tree(root, train=TRAIN[:4], test=TEST[:1], months=2, detail=8)
    return root


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_lists(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rsdata", "sn7-csv", str(tree), str(out), "--json"]
    environment = {**os.environ, "RSDATA_CONTACT": "me@example.org"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert report["rows"] == {"train.csv": 5 * 16, "val.csv": 2 * 16, "test.csv": 32 - 1}
    assert report["black"] == {"test.csv": 1} and report["failed"] == 2
    assert (out / "train.csv").read_text().startswith(",".join(COLUMNS) + "\n")
    train, val, test = (rows(out / f"{name}.csv") for name in ("train", "val", "test"))
    assert [row["patch"] for row in train[:16]] == [str(k) for k in range(16)], "16 an image, row-major"
    assert [(row["row"], row["col"]) for row in train[3:6]] == [("0", "3"), ("1", "0"), ("1", "1")]
    assert {row["aoi"] for row in train}.isdisjoint(row["aoi"] for row in val)
    labels = {row["aoi"]: (row["label"], row["country"]) for row in train + val}
    assert labels[TRAIN[0]] == ("18", "United States") and labels[TRAIN[3]] == ("5", "India")
    assert {(row["label"], row["country"]) for row in test} == {("0", "Egypt")}, "test areas by position"
    assert all((tree / row["path"]).is_file() for row in train + val + test)
    assert train[0]["state"] and train[0]["city"] and train[0]["month"] == "2018-01"
    lost = {row["path"].rsplit("/", 1)[1]: row["reason"] for row in rows(out / "failures.csv")}
    assert "readme.txt" in lost and any("not a whole GeoTIFF" in reason for reason in lost.values())
    facts = json.loads((out / "leakage.json").read_text())
    assert facts["val"]["leaked"] == 0 and facts["test"]["nearest_km"][TEST[0]]["km"] > 1000
    assert "leaked" in (out / "leakage.txt").read_text()
    assert json.loads((out / "classes.json").read_text())["South Korea"] == 30
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert not any(b"me@example" in data for data in before.values()), "a contact is in no file"
    sn7_csv(tree, out, Sn7CsvConfig())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_names_alone(tree: Path, tmp_path: Path) -> None:
    """Without reading pixels the broken image is in the lists; held-out images may come from the other folder."""
    config = Sn7CsvConfig(pixels=False, val_images="images_masked", label="aoi", drop_black="none")
    report = sn7_csv(tree, tmp_path, config)
    assert report.rows == {"train.csv": 96, "val.csv": 32, "test.csv": 32}
    assert all("/images_masked/" in row["path"] for row in rows(tmp_path / "val.csv"))
    assert all("/images/" in row["path"] for row in rows(tmp_path / "train.csv"))
    names = sorted(TRAIN[:4])
    assert all(names[int(row["label"])] == row["aoi"] for row in rows(tmp_path / "train.csv"))


def test_coordinates_without_a_raster(tmp_path: Path) -> None:
    """Building footprints serve; empty files and shapes of several parts are taken as they are."""
    for area, shapes in {
        "a": [[], [{"type": "MultiPolygon", "coordinates": [[[[8.5, 47.4], [8.6, 47.4], [8.6, 47.5]]]]}]],
        "b": [[None], []],
    }.items():
        for folder in ("images", "labels"):
            (tmp_path / "train" / area / folder).mkdir(parents=True)
        for n, found in enumerate(shapes):
            stem = f"global_monthly_2018_{n + 1:02d}_mosaic_{area}"
            (tmp_path / "train" / area / "images" / f"{stem}.tif").write_bytes(b"no image")
            text = {"type": "FeatureCollection", "features": [{"geometry": shape} for shape in found]}
            path = tmp_path / "train" / area / "labels" / f"{stem}_Buildings.geojson"
            path.write_text(json.dumps(text))
            path.with_name(f"{stem}_UDM.geojson").write_text("not read")
    areas = scan(tmp_path, "train", "images")
    places = find_places(tmp_path, areas)
    assert (places["a"].lon, places["a"].lat, places["a"].origin) == (8.5, 47.4, "buildings")
    assert places["a"].address.iso == "CH" and len(list(months_of(areas))) == 4
    assert places["b"].lon is None and places["b"].notes == ("has no coordinates",)
    with pytest.raises(UserError, match="no image could be listed"):
        sn7_csv(tmp_path, tmp_path / "out", Sn7CsvConfig(split="image"))


def test_what_does_not_agree_is_noted() -> None:
    moved = placed(TRAIN[0], 8.5, 47.4, Address("CH", "Switzerland", "Zurich", "Zurich"))
    assert moved.address == Address("US", "United States"), (
        "the table decides; the rest is not of that country"
    )
    assert moved.notes[0] == "country US by the table, CH by the geocoder"
    assert "its name says -121.663, 37.979" in moved.notes[1]


def test_nominatim_is_asked_slowly_once_and_by_name(tmp_path: Path) -> None:
    asked: list[tuple[float, dict[str, str], str]] = []

    def reverse(request: Request) -> Response:
        asked.append((time.monotonic(), dict(request.query), request.headers["user-agent"]))
        if len(asked) == 3:
            return Response.error(403, "Access blocked", "PERMISSION_DENIED")
        town = {"town": "Bunda", "state": "Mara", "country": "Tanzania", "country_code": "tz"}
        return Response.of({"address": town})

    places = {name: placed(name, lon, 1.5, Address()) for name, lon in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    with pytest.raises(ConfigError, match="needs --contact"):
        ask(places, tmp_path, endpoint="http://127.0.0.1:1", contact=None)
    with sandbox(routes=[("/reverse", reverse)]) as url:
        with pytest.raises(UserError, match="Access blocked"):
            ask(places, tmp_path, endpoint=url, contact="me@example.org")
        found = ask(places, tmp_path, endpoint=url, contact="me@example.org")
        again = ask(places, tmp_path, endpoint=url, contact="me@example.org")
    assert len(asked) == 4 and found == again, "what was answered is not asked again"
    assert found["a"].address == Address("TZ", "Tanzania", "Mara", "Bunda")
    assert {agent for _, _, agent in asked} == {"rsdata (me@example.org)"}
    assert asked[0][1]["accept-language"] == "en" and asked[0][1]["lat"] == "1.500000"
    waits = [later[0] - sooner[0] for sooner, later in pairwise(asked)]
    assert min(waits) > 0.95, "one a second at most"
