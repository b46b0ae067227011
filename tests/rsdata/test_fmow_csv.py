from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from rsdata.curate.configs import FmowCsvConfig
from rsdata.curate.fmow_csv import COLUMNS, GEO, TEST, TRAIN, fmow_csv
from rsdata.fmow.files import VIEW, scan
from rsdata.fmow.metadata import centroid, parse
from shards.errors import UserError

FACTS: dict[str, Any] = {
    "gsd": 0.5, "img_width": 9, "img_height": 8, "timestamp": "2012-04-02T10:32:22Z", "country_code": "CHE", "utm": "32T",
    "cloud_cover": 0, "approximate_wavelengths": [661, 545, 477],
}  # fmt: skip


def square(lon: float, lat: float, half: float = 1e-3) -> str:
    return shapely.box(lon - half, lat - half, lon + half, lat + half).wkt


def facts(lon: float, lat: float, **more: Any) -> dict[str, Any]:
    boxes = [
        {"ID": -1, "box": [1, 2, 3, 4], "raw_location": square(lon, lat)},
        {"ID": 7, "box": [1, 2, 3, 4]},
    ]
    return FACTS | {"raw_location": square(lon + 1, lat), "bounding_boxes": boxes} | more


def view(root: Path, split: str, name: str, loc: int, t: int, content: Any, *, tail: str = "rgb") -> Path:
    folder = root / split / name / f"{name}_{loc}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_{loc}_{t}_{tail}.jpg").touch()
    path = folder / f"{name}_{loc}_{t}_{tail}.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "fmow"
    for loc in (0, 2, 10):
        for t in (0, 3, 12):
            view(root, "train", "airport_hangar", loc, t, facts(10.0 * loc, loc))
            view(root, "train", "airport_hangar", loc, t, facts(10.0 * loc, loc), tail="msrgb")
        view(root, "train", "airport", loc, 0, facts(-50.0, loc))
    view(root, "val", "zoo", 0, 0, facts(1, 2))
    return root


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_three_lists(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = fmow_csv(tree, out, FmowCsvConfig(k=3))
    assert (report.classes, report.clusters, report.failed) == (3, 3, 0)
    train, test, geo = (rows(out / name) for name in (TRAIN, TEST, GEO))
    assert (out / TRAIN).read_text().startswith(",".join(COLUMNS) + "\n")
    assert json.loads((out / "classes.json").read_text()) == {"airport": 0, "airport_hangar": 1, "zoo": 2}
    assert [row["path"] for row in train[3:7]] == [
        f"train/airport_hangar/airport_hangar_{loc}/airport_hangar_{loc}_{t}_rgb.jpg"
        for loc, t in ((0, 0), (0, 3), (0, 12), (2, 0))
    ], "by class, location and view, as numbers"
    assert [row["label"] for row in train] == ["0"] * 3 + ["1"] * 9
    assert test[0]["label"] == "2"
    first = train[6]
    assert (first["class_name"], first["location"], first["view"]) == ("airport_hangar", "2", "0")
    assert (first["timestamp"], first["gsd"], first["country"], first["utm"]) == (
        "2012-04-02T10:32:22Z",
        "0.5",
        "CHE",
        "32T",
    )
    assert abs(float(first["lon"]) - 20) < 1e-9, "of the first box, not of the image"
    assert [row["path"] for row in geo] == [row["path"] for row in train]
    assert {row["label"] for row in geo} == {"0", "1", "2"}
    for loc in (0, 2, 10):
        assert (
            len(
                {
                    g["label"]
                    for g, t in zip(geo, train, strict=True)
                    if t["location"] == str(loc) and t["label"] == "1"
                }
            )
            == 1
        )
    assert len(json.loads((out / "clusters.json").read_text())["clusters"]) == 3
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    fmow_csv(tree, out, FmowCsvConfig(k=3))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file"),
        ("", "the metadata file is empty"),
        ("{", "malformed metadata"),
        ("[]", "malformed metadata"),
        (facts(1, 1, gsd="wide"), "malformed metadata"),
        (facts(1, 1, timestamp="yesterday"), "malformed timestamp 'yesterday'"),
        (FACTS, "no coordinates"),
        (facts(1, 1, bounding_boxes=[{"raw_location": "POLYGON ((1 2"}]), "malformed WKT"),
        (facts(1, 1, bounding_boxes=[{"raw_location": "POLYGON EMPTY"}]), "without a finite centroid"),
        (facts(200, 1), "off the globe"),
        (facts(1, 95), "off the globe"),
        (facts(1, 1, bounding_boxes=[{"raw_location": "POINT (nan 3)"}]), "without a finite centroid"),
    ],
)
def test_an_image_without_usable_facts_is_listed_and_never_at_zero(
    tree: Path, tmp_path: Path, content: Any, reason: str
) -> None:
    view(tree, "train", "airport", 77, 5, content)
    report = fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=2))
    assert report.failed == 1
    (lost,) = rows(tmp_path / "out" / "failures.csv")
    assert lost["path"] == "train/airport/airport_77/airport_77_5_rgb.jpg"
    assert lost["class"] == "invalid"
    assert reason in lost["reason"]
    assert len(rows(tmp_path / "out" / TRAIN)) == 12


def test_odd_but_good_metadata(tree: Path, tmp_path: Path) -> None:
    bare = {"box": [0, 0, 1, 1], "raw_location": square(33, 44)}
    view(tree, "train", "zoo", 1, 0, FACTS | {"bounding_boxes": bare})
    view(tree, "train", "zoo", 2, 0, FACTS | {"bounding_boxes": [], "raw_location": square(34, 44)})
    view(tree, "train", "zoo", 3, 0, {"raw_location": "MULTIPOLYGON (((35 44, 36 44, 36 45, 35 45, 35 44)))"})
    fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=2))
    found = [row for row in rows(tmp_path / "out" / TRAIN) if row["class_name"] == "zoo"]
    assert [round(float(row["lon"]), 6) for row in found] == [33, 34, 35.5]
    assert found[2]["timestamp"] == found[2]["gsd"] == found[2]["country"] == ""


def test_strays_are_listed(tree: Path, tmp_path: Path) -> None:
    place = tree / "train" / "airport" / "airport_0"
    for name in ("airport_1_0_rgb.jpg", "notes.txt", ".DS_Store"):
        (place / name).touch()
    (tree / "train" / "airport" / "zoo_5").mkdir()
    (tree / "train" / "airport" / "airport_99").mkdir()
    assert fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=2)).failed == 4
    assert {row["path"].rsplit("/", 1)[1] for row in rows(tmp_path / "out" / "failures.csv")} == {
        "airport_1_0_rgb.jpg", "notes.txt", "zoo_5", "airport_99",
    }  # fmt: skip


def test_crops_beside_the_images_are_taken_and_read_the_json_of_the_image(tree: Path, tmp_path: Path) -> None:
    for json_path in (tree / "train").rglob("*_rgb.json"):
        if "msrgb" not in json_path.name:
            json_path.with_name(json_path.stem + "_crop_0.jpg").touch()
    shutil.rmtree(tree / "val")
    report = fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=2))
    assert report.boxes == "crop files"
    assert rows(tmp_path / "out" / TRAIN)[0]["path"].endswith("airport_0_0_rgb_crop_0.jpg")
    assert rows(tmp_path / "out" / TEST) == [], "a header, no rows"
    assert fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=2, boxes="whole")).boxes == "whole"


def test_crops_of_many_boxes_and_a_class_with_a_hyphen(tmp_path: Path) -> None:
    """The names at which the original grouping by fixed offsets breaks: box numbers of two digits, `-`, `_`, digits."""
    root, name = tmp_path / "fmow", "multi-unit_residential"
    for t in (0, 7):
        path = view(root, "train", name, 10, t, facts(5.0, 6.0))
        for box in (0, 2, 10):
            path.with_name(f"{name}_10_{t}_rgb_crop_{box}.jpg").touch()
            path.with_name(f"{name}_10_{t}_msrgb_crop_{box}.jpg").touch()
    view(root, "train", name, 1, 0, facts(7.0, 8.0))
    report = fmow_csv(root, tmp_path / "out", FmowCsvConfig(k=1, boxes="files"))
    found = rows(tmp_path / "out" / TRAIN)
    assert [row["path"].rsplit("/", 1)[1] for row in found] == [
        f"{name}_10_{t}_rgb_crop_{box}.jpg" for t in (0, 7) for box in (0, 2, 10)
    ], "by view, then by the number of the box"
    assert {(row["class_name"], row["location"]) for row in found} == {(name, "10")}
    assert report.failed == 1, "the place without a crop"


def test_coordinates_from_the_archive_of_the_ground_truth(tree: Path, tmp_path: Path) -> None:
    import tarfile

    whole = {path: path.read_bytes() for path in tree.rglob("*.json")}
    with tarfile.open(tmp_path / "groundtruth.tar.bz2", "w:bz2") as tar:
        tar.add(tree, arcname=".", filter=lambda m: m if m.isdir() or m.name.endswith(".json") else None)
    fmow_csv(tree, tmp_path / "own", FmowCsvConfig(k=2))
    for path in whole:
        path.write_text(json.dumps(FACTS))
    config = FmowCsvConfig(
        k=2, metadata_root=tmp_path / "groundtruth.tar.bz2", cache=tmp_path / "cache", workers=2
    )
    fmow_csv(tree, tmp_path / "joined", config)
    for name in (TRAIN, TEST, GEO):
        assert (tmp_path / "joined" / name).read_bytes() == (tmp_path / "own" / name).read_bytes()


def test_coordinates_from_a_second_root(tree: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    shutil.copytree(tree, truth, ignore=shutil.ignore_patterns("*.jpg"))
    for path in tree.rglob("*.json"):
        path.write_text(json.dumps(FACTS))
    with pytest.raises(UserError, match=r"no image could be listed; the first of 13: .*--metadata-root"):
        fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=2))
    report = fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=2, metadata_root=truth))
    assert report.rows == {TRAIN: 12, TEST: 1, GEO: 12}
    with pytest.raises(UserError, match="no such folder or archive"):
        fmow_csv(tree, tmp_path / "out", FmowCsvConfig(metadata_root=tmp_path / "none"))


def test_wrong_trees_are_one_sentence(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no fMoW tree"):
        fmow_csv(tmp_path / "none", tmp_path / "out", FmowCsvConfig())
    with pytest.raises(UserError, match="there are only 6: choose --k 6"):
        fmow_csv(tree, tmp_path / "out", FmowCsvConfig(k=100))
    assert not (tmp_path / "out").exists()


def test_names_as_released() -> None:
    match = VIEW.match("airport_hangar_12_3_msrgb_crop_10.jpg", len("airport_hangar_12_"))
    assert match is not None
    assert match.groups() == ("3", "msrgb", "10", "jpg")
    assert VIEW.match("0_rgb.jpg\n") is None


def test_the_published_example(shared_data: Path) -> None:
    data = (shared_data / "fmow" / "fountain_514_1_rgb.json").read_bytes()
    lon, lat = parse(data).lon_lat()
    assert (round(lon, 6), round(lat, 6)) == (8.583146, 47.449046)


def test_views_are_in_order_of_t(tree: Path) -> None:
    (place,) = (p for p in scan(tree, "train") if p.class_name == "airport_hangar" and p.location == 10)
    assert [v.view for v in place.views] == [0, 3, 12]


numbers = st.floats(-1, 1, allow_nan=False)


@given(
    lon=st.floats(-170, 170),
    lat=st.floats(-80, 80),
    corners=st.lists(st.tuples(numbers, numbers), min_size=3, max_size=8),
)
def test_centroids_are_those_of_shapely(lon: float, lat: float, corners: list[tuple[float, float]]) -> None:
    hull = shapely.convex_hull(shapely.MultiPoint([(lon + 2 * x, lat + 2 * y) for x, y in corners]))
    if hull.area < 1e-3:  # shapely loses digits of slivers: it sums in absolute coordinates
        return
    assert centroid(hull.wkt) == pytest.approx((hull.centroid.x, hull.centroid.y), abs=1e-6)


def test_a_footprint_across_the_antimeridian() -> None:
    ring = "POLYGON ((179.9 0, -179.9 0, -179.9 1, 179.9 1, 179.9 0))"
    assert centroid(ring) == pytest.approx((180, 0.5))
    assert centroid(
        ring.replace("179.9 0", "179.7 0").replace("179.9 1", "179.7 1").replace("-179.7", "-179.9")
    )[0] == pytest.approx(179.9)
