from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely

from rsdata.sandbox.fmow_tree import FmowTree, place_of, write_fmow_tree
from rsdata.sandbox.sites import FUNCTIONS
from shards.errors import ConfigError

NAME = re.compile(r"^(?P<cls>.+)_(?P<loc>\d+)_(?P<t>\d+)_(?P<kind>rgb|msrgb)$")
REAL = Path(__file__).resolve().parents[2] / "../shared/data/fmow/fountain_514_1_rgb.json"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planet") / "fmow"
    facts = write_fmow_tree(root, places=20, classes=5, size_px=64, seed=3)
    assert facts.places == 20 and facts.views == len(list(root.rglob("*.jpg")))
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_layout_and_json_are_those_of_the_release(tree: Path) -> None:
    jsons = sorted(tree.rglob("*.json"))
    assert {path.relative_to(tree).parts[0] for path in jsons} == {"train", "val"}
    real = json.loads(REAL.read_text()) if REAL.exists() else None
    for path in jsons:
        match = NAME.match(path.stem)
        assert (
            match
            and path.parent.name == f"{match['cls']}_{match['loc']}"
            and path.parents[1].name == match["cls"]
        )
        facts = json.loads(path.read_text())
        image = cv2.imread(str(path.with_suffix(".jpg")))
        assert image is not None and image.shape == (facts["img_height"], facts["img_width"], 3)
        assert 2002 <= datetime.fromisoformat(facts["timestamp"]).year <= 2017
        assert re.fullmatch(r"\d{1,2}[C-X]", facts["utm"]) and re.fullmatch(
            r"[A-Z]{3}", facts["country_code"]
        )
        assert 0 <= facts["cloud_cover"] <= 100 and facts["gsd"] > 0
        first, second = facts["bounding_boxes"]
        assert first["ID"] == -1 and second["ID"] >= 0 and "raw_location" not in second
        for box in (first, second):
            x, y, w, h = box["box"]
            assert box["category"] == match["cls"]
            assert x >= 0 and y >= 0 and w > 2 and h > 2
            assert x + w <= facts["img_width"] and y + h <= facts["img_height"], "the box lies in the image"
        if real:
            missing = {key for key in real if not re.search("_(start|end|min|max)_dbl", key)} - set(facts)
            missing -= {"sun_azimuth_min_dbl"}
            assert not missing, missing
            assert set(real["bounding_boxes"][0]) == set(first)


def test_footprints_place_the_view_to_a_pixel(tree: Path) -> None:
    plan = FmowTree(tree, 20, tuple(FUNCTIONS)[:5], seed=3, size_px=64)
    places = {}
    for number in range(20):
        place = place_of(plan, number)
        places[place.split, f"{place.site.function}_{place.location}"] = place
    for path in tree.rglob("*.json"):
        facts = json.loads(path.read_text())
        site = places[path.relative_to(tree).parts[0], path.parent.name].site
        image, box = (
            shapely.from_wkt(w) for w in (facts["raw_location"], facts["bounding_boxes"][0]["raw_location"])
        )
        assert image.is_valid and box.is_valid and image.contains(box)
        metres = np.array([111_195 * np.cos(np.radians(site.lat)), 111_195])
        off = (np.array([box.centroid.x, box.centroid.y]) - [site.lon, site.lat]) * metres
        assert np.hypot(*off) < facts["gsd"], "centroid of the box is the place"
        # The pixel box, carried to the ground through the image's footprint, is the box's footprint.
        west, south, east, north = image.bounds
        x, y, w, h = facts["bounding_boxes"][0]["box"]
        lon = west + (east - west) * (x + w / 2) / facts["img_width"]
        lat = north - (north - south) * (y + h / 2) / facts["img_height"]
        assert np.hypot(*((np.array([lon, lat]) - [site.lon, site.lat]) * metres)) < 6 * facts["gsd"]


def test_train_and_val_share_no_cell_and_places_spread_over_the_world(tmp_path: Path) -> None:
    plan = FmowTree(tmp_path, 400, tuple(FUNCTIONS)[:8])
    places = [place_of(plan, number) for number in range(400)]
    cells: dict[str, set[tuple[int, int]]] = {"train": set(), "val": set()}
    for place in places:
        cells[place.split].add((int((place.site.lat + 90) // 5), int((place.site.lon + 180) // 5)))
    assert not cells["train"] & cells["val"]
    assert len(cells["train"]) > 60 and len(cells["val"]) > 20
    assert sum(place.split == "val" for place in places) == 120
    assert len({place.country for place in places}) > 40
    names = [(place.split, place.site.function, place.location) for place in places]
    assert len(set(names)) == 400


@pytest.mark.slow
def test_bytes_do_not_depend_on_workers(tree: Path, tmp_path: Path) -> None:
    write_fmow_tree(tmp_path / "two", places=20, classes=5, size_px=64, seed=3, workers=2)
    assert contents(tmp_path / "two") == contents(tree)


def test_traps(tmp_path: Path) -> None:
    root = tmp_path / "fmow"
    facts = write_fmow_tree(root, places=8, classes=2, size_px=48, max_views=3, traps=True)
    assert set(facts.traps) == {"several_boxes", "bare_object", "missing_json", "malformed_wkt"}
    assert not (root / facts.traps["missing_json"]).exists()
    assert (root / facts.traps["missing_json"]).with_suffix(".jpg").exists()
    boxes = json.loads((root / facts.traps["several_boxes"]).read_text())["bounding_boxes"]
    assert len({box["ID"] for box in boxes} - {-1}) == 2
    assert isinstance(json.loads((root / facts.traps["bare_object"]).read_text())["bounding_boxes"], dict)
    with pytest.raises(shapely.errors.GEOSException):
        shapely.from_wkt(json.loads((root / facts.traps["malformed_wkt"]).read_text())["raw_location"])
    for twin in root.rglob("*_msrgb.json"):
        small = cv2.imread(str(twin.with_suffix(".jpg")))
        assert small is not None and small.shape[1] == json.loads(twin.read_text())["img_width"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"places": 3}, "expected at least one a class"),
        ({"places": 30, "classes": ["airport", "castle"]}, "castle not known"),
        ({"places": 30, "classes": 99}, "expected 1 to"),
        ({"places": 30, "val_fraction": 1.0}, "val_fraction"),
        ({"places": 30, "workers": 0}, "workers"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_fmow_tree(tmp_path / "x", **values)  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something already"):
        write_fmow_tree(tmp_path, places=8)
    assert [path.name for path in tmp_path.iterdir()] == ["keep.txt"]
