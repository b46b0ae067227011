"""The fMoW source: places with their views, coordinates that are never guessed, boxes with context."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_trees import pixels

from rsdata.build import build
from rsdata.curate.splits import geo_blocks
from rsdata.fmow.boxes import with_context
from rsdata.plan import make_plan
from rsdata.sandbox.fmow_tree import write_fmow_tree
from rsdata.sources.fmow import FMoW
from shards.codec import decode_rgb, encode_jpeg
from shards.errors import ConfigError
from shards.index import Index

BOX = [40, 30, 20, 10]


def wkt(lon: float, lat: float, side: float = 0.001) -> str:
    """A square round a point."""
    x0, x1, y0, y1 = lon - side, lon + side, lat - side, lat + side
    return f"POLYGON (({x0} {y1}, {x1} {y1}, {x1} {y0}, {x0} {y0}, {x0} {y1}))"


def facts(lon: float = 8.5, lat: float = 47.4, **other: Any) -> dict[str, Any]:
    """A metadata file."""
    box = {"ID": 1, "box": BOX, "category": "x", "raw_location": wkt(lon, lat)}
    base = {"gsd": 0.5, "img_width": 96, "img_height": 64, "timestamp": "2016-05-04T10:32:22Z", "utm": "32T"}
    return (
        base
        | {"country_code": "CHE", "cloud_cover": 3, "raw_location": wkt(1, 1), "bounding_boxes": [box]}
        | other
    )


def view(root: Path, place: str, t: int, meta: dict[str, Any] | str | None, *, kind: str = "rgb") -> Path:
    """One image and its metadata; `place` is `train/airport/airport_0`."""
    stem = root / place / f"{place.rsplit('/', 1)[1]}_{t}_{kind}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    image = encode_jpeg(pixels(t, height=64, width=96))
    stem.with_name(f"{stem.name}.jpg").write_bytes(image)
    if meta is not None:
        stem.with_name(f"{stem.name}.json").write_text(meta if isinstance(meta, str) else json.dumps(meta))
    return stem.with_name(f"{stem.name}.jpg")


def built(root: Path, out: Path, **options: Any) -> tuple[Index, dict[str, dict[str, Any]]]:
    """Index and failures of a build."""
    make_plan(FMoW.build(root=root, **options), out)
    build(out, workers=0)
    return Index.open(out), {r["item"]: r for r in pq.read_table(out / "failures.parquet").to_pylist()}


def test_views_of_a_place_in_order_with_their_facts(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for t, when in ((10, "2017-01-01T00:00:00Z"), (2, "2016-01-01T00:00:00Z"), (0, "2015-01-01T00:00:00Z")):
        view(root, "train/zoo/zoo_7", t, facts(timestamp=when))
        view(root, "train/zoo/zoo_7", t, facts(), kind="msrgb")
    view(root, "val/airport/airport_7", 0, facts(-70.25, -33.5))
    index, failures = built(root, tmp_path / "out", boxes="whole")
    assert not failures and index.info.classes == ["airport", "zoo"]
    rows = [r for r in index.table.to_pylist() if r["split"] == "train"]
    assert [(r["member"], r["view"], r["time"].year) for r in rows] == [
        ("000.jpg", 0, 2015), ("001.jpg", 2, 2016), ("002.jpg", 10, 2017)
    ]  # fmt: skip
    first = rows[0]
    assert (first["key"], first["location"], first["label"]) == ("train-zoo_7", "train/zoo_7", 1)
    assert (first["lon"], first["lat"]) == pytest.approx((8.5, 47.4), abs=1e-9), "the box, not the image"
    assert (first["gsd_m"], first["country"], first["utm"], first["cloud_cover"]) == (0.5, "CHE", "32T", 3)
    assert json.loads(first["box"]) == BOX
    assert index.read(0) == (root / first["source"]).read_bytes(), "whole images keep their bytes"
    (row,) = index.where(split="val").table.to_pylist()
    assert (row["key"], row["lon"], row["lat"]) == (
        "val-airport_7",
        pytest.approx(-70.25),
        pytest.approx(-33.5),
    )


BAD = {
    "missing": (None, "no metadata JSON"),
    "empty": ("", "metadata file is empty"),
    "not_json": ('{"gsd": ', "malformed metadata"),
    "wrong_type": (facts(gsd="half a metre"), "malformed metadata"),
    "no_place": (facts(raw_location=None, bounding_boxes=[{"box": BOX}]), "no coordinates"),
    "bad_wkt": (facts(bounding_boxes=[{"box": BOX, "raw_location": "POLYGON ((8 47, 9"}]), "WKT"),
    "nan": (facts(bounding_boxes=[{"box": BOX, "raw_location": wkt(float("nan"), 0)}]), "WKT"),
    "off_globe": (facts(200, 10), "off the globe"),
    "no_box": (facts(bounding_boxes=[]), "no box of four numbers"),
    "box_outside": (facts(bounding_boxes=[{"box": [500, 500, 9, 9], "raw_location": wkt(1, 2)}]), "outside of the image"),
    "thin_box": (facts(bounding_boxes=[{"box": [5, 5, 2, 9], "raw_location": wkt(1, 2)}]), "at least 3"),
    "bad_time": (facts(timestamp="yesterday"), "malformed timestamp"),
}  # fmt: skip


def test_a_lost_view_is_listed_and_its_place_kept(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number, (meta, _) in enumerate(BAD.values()):
        view(root, f"train/pond/pond_{number}", 0, facts())
        view(root, f"train/pond/pond_{number}", 3, meta)
    view(root, "train/pond/pond_99", 0, None)
    bare = facts()
    view(root, "train/pond/pond_100", 0, bare | {"bounding_boxes": bare["bounding_boxes"][0]})
    index, failures = built(root, tmp_path / "out")
    assert len(index) == len(BAD) + 1 and set(index.column("view")) == {0}
    for number, (_, reason) in enumerate(BAD.values()):
        row = failures.pop(f"train/pond/pond_{number}/pond_{number}_3_rgb.jpg")
        assert row["class"] == "invalid" and reason in row["reason"]
    (row,) = failures.values()
    assert row["item"] == "train/pond/pond_99" and "none of its 1 views is left" in row["reason"]
    assert set(np.round(index.column("lon"), 6)) == {8.5}, "a view without a place is never put at (0, 0)"


def test_second_tree_gives_the_coordinates(tmp_path: Path) -> None:
    root, truth = tmp_path / "in", tmp_path / "truth"
    view(root, "train/dam/dam_0", 0, facts(raw_location=None, bounding_boxes=[{"box": BOX}]))
    view(truth, "train/dam/dam_0", 0, facts(12.5, 41.9)).unlink()
    index, failures = built(root, tmp_path / "out", metadata_root=truth)
    assert not failures
    assert index.column("lon")[0] == pytest.approx(12.5) and index.column("width")[0] == 20 + 2 * 5


def test_published_crops(tmp_path: Path) -> None:
    root = tmp_path / "in"
    path = view(root, "train/dam/dam_0", 0, facts())
    for box in (0, 1):
        shutil.copy(path, path.with_name(f"dam_0_0_rgb_crop_{box}.jpg"))
    index, failures = built(root, tmp_path / "out", boxes="files")
    assert not failures and index.table["source"].to_pylist() == ["train/dam/dam_0/dam_0_0_rgb_crop_0.jpg"]


def test_empty_class_and_no_tree(tmp_path: Path) -> None:
    view(tmp_path / "in", "train/dam/dam_0", 0, facts())
    (tmp_path / "in" / "train" / "zoo").mkdir()
    with pytest.raises(ConfigError, match="class folder 'zoo' has no places"):
        FMoW(root=tmp_path / "in").listing()
    from shards.errors import UserError

    with pytest.raises(UserError, match="neither train/ nor val/"):
        FMoW(root=tmp_path / "in" / "train").listing()


@pytest.mark.parametrize(
    ("box", "size", "axes", "expected"),
    [
        ([400, 300, 100, 60], (1000, 600), "correct", (350, 270, 550, 390)),  # both ratios 0.1: as much again
        ([100, 100, 600, 240], (1000, 600), "correct", (55, 76, 745, 364)),  # 0.6 -> 0.15, 0.4 -> 0.2
        (
            [400, 300, 100, 60],
            (1000, 600),
            "baseline",
            (375 - 25, 240, 550, 420),
        ),  # 100/600 -> 1, 60/1000 -> 2
        ([0, 0, 30, 30], (100, 100), "correct", (0, 0, 34, 34)),  # clamped
        ([466, 299, 72, 60], (977, 663), "correct", (394, 239, 610, 419)),  # fountain_514_1: 0.07, 0.09 -> 2
    ],
)
def test_context(box: list[float], size: tuple[int, int], axes: Any, expected: tuple[int, ...]) -> None:
    assert with_context(box, *size, axes=axes) == expected


def test_crop_is_the_box_with_its_context(tmp_path: Path) -> None:
    path = view(tmp_path / "in", "train/dam/dam_0", 0, facts())
    index, _ = built(tmp_path / "in", tmp_path / "out")
    left, top, right, bottom = with_context(BOX, 96, 64)
    whole = decode_rgb("jpg", path.read_bytes())
    part = decode_rgb("jpg", index.read(0))
    assert part.shape == (bottom - top, right - left, 3)
    assert abs(part.astype(int) - whole[top:bottom, left:right]).mean() < 4


@given(st.integers(0, 10_000), st.floats(1, 30), st.floats(0.1, 0.6))
def test_geo_blocks_hold_out_whole_blocks(seed: int, degrees: float, fraction: float) -> None:
    dice = np.random.default_rng(seed)
    lon, lat = dice.uniform(-180, 180, 400), np.degrees(np.arcsin(dice.uniform(-1, 1, 400)))
    held = geo_blocks(lon, lat, degrees=degrees, fraction=fraction, seed=seed)
    assert 0 < held.sum() < 400
    shuffle = dice.permutation(400)
    again = geo_blocks(lon[shuffle], lat[shuffle], degrees=degrees, fraction=fraction, seed=seed)
    assert (again == held[shuffle]).all(), "the order of the points does not matter"
    columns = int(360 / degrees)
    cell = [
        (int((x + 180) * columns / 360) % columns, int((y + 90) // degrees))
        for x, y in zip(lon, lat, strict=True)
    ]
    assert not {c for c, h in zip(cell, held, strict=True) if h} & {
        c for c, h in zip(cell, held, strict=True) if not h
    }
    largest = max(Counter(cell).values())
    assert abs(held.sum() - fraction * 400) <= largest


def test_embedded_planet_with_traps(tmp_path: Path) -> None:
    tree = write_fmow_tree(tmp_path / "in", places=24, classes=4, traps=True, size_px=48, max_views=3)
    index, failures = built(tmp_path / "in", tmp_path / "out", split="geo", geo_degrees=10)
    bad = {tree.traps["missing_json"], tree.traps["malformed_wkt"]}
    lost = {
        name
        for name in bad
        if name.replace(".json", ".jpg") in failures or name.rsplit("/", 1)[0] in failures
    }
    assert lost == bad and len(failures) == 2
    assert len(index) == tree.views - 2
    places = {
        split: {(r["lon"] // 10, r["lat"] // 10) for r in index.where(split=split).table.to_pylist()}
        for split in ("train", "val")
    }
    assert not places["train"] & places["val"]


def test_a_tree_that_is_not_there_is_said(tmp_path: Path) -> None:
    view(tmp_path / "in", "train/zoo/zoo_7", 0, facts())
    with pytest.raises(ConfigError, match="there is no such folder"):
        make_plan(FMoW.build(root=tmp_path / "in", metadata_root=tmp_path / "nowhere"), tmp_path / "out")
    (tmp_path / "bare" / "train").mkdir(parents=True)
    with pytest.raises(ConfigError, match="have no class folders"):
        make_plan(FMoW.build(root=tmp_path / "bare"), tmp_path / "out")
