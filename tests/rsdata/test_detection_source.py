"""Sets of boxes from archive to shards: served, damaged, cut into tiles, interrupted."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dense_trees import SIDE, built, corners, members, same, tree
from image_trees import rsdata

from rsdata.build import build, status
from rsdata.inspect.info import set_facts
from rsdata.inspect.preview import gather
from rsdata.maps import hex_colour
from rsdata.plan import make_plan
from rsdata.sandbox.archive_trees import zip_folder
from rsdata.sandbox.detection_tree import DIOR, DOTA, XVIEW
from rsdata.sandbox.hosts.routes import routes
from rsdata.sandbox.serve import sandbox
from rsdata.sources.detection import Detection
from shards.codec import decode_rgb, encode_jpeg
from shards.errors import ConfigError
from shards.index import Index
from shards.targets import BOXES, decode_boxes


def source(root: Path | str, **options: Any) -> Detection:
    return Detection.build(root=str(root), **options)


@pytest.fixture
def dior(tmp_path: Path) -> Path:
    """A tree that a test may spoil."""
    return Path(shutil.copytree(tree("dior")[0], tmp_path / "dior"))


def test_an_archive_served_with_faults_is_the_same_set(tmp_path: Path) -> None:
    """A zip over HTTP whose connection is cut, against the folder; the boxes are those that were drawn."""
    folder, shots = tree("dior")
    trees = {"dior": lambda out, _seed: zip_folder(folder, out / "dior.zip")}
    with sandbox(routes=routes(trees), faults=["cut@dior=first:2"]) as url:
        root = f"{url}/files/dior/dior.zip"
        index = built(source(root, preset="dior", cache=tmp_path / "cache"), tmp_path / "served")
    built(source(folder, preset="dior"), tmp_path / "local")
    assert same(tmp_path / "served", tmp_path / "local")

    (target,) = index.info.targets
    assert target.member == BOXES and len(target.classes) == 20
    assert set(index.info.splits) <= {"train", "val", "test"}
    lists = {
        name: path.stem
        for path in (folder / "ImageSets/Main").glob("*.txt")
        for name in path.read_text().split()
    }
    found = members(index)
    for row in range(len(index)):
        image = index.table["image"][row].as_py()
        (shot,) = [s for s in shots if s.name == Path(image).stem]
        boxes = decode_boxes(found[image][BOXES])
        assert corners(boxes) == {
            (target.classes.index(DIOR[o.kind]), *o.box) for o in shot.objects if o.kind in DIOR
        }
        assert index.table["labels"][row].as_py() == sorted({box.label for box in boxes})
        assert index.table["split"][row].as_py() == lists[shot.name]
        assert found[image]["jpg"] == (folder / image).read_bytes(), "images keep their bytes"


def test_each_fault_of_an_archive_has_its_class(dior: Path, tmp_path: Path) -> None:
    annotations = dior / "Annotations/Horizontal Bounding Boxes"
    good = (annotations / "00000.xml").read_text()
    image = (dior / "JPEGImages-trainval/00000.jpg").read_bytes()
    broken = {
        "no_image": (good, None, "gone", "no image like JPEGImages-"),
        "bomb": (f"<!DOCTYPE a [<!ENTITY a 'a'>]>{good}", image, "invalid", "document type"),
        "half": (good[: len(good) // 2], image, "invalid", "broken XML"),
        "larger": (
            good,
            encode_jpeg(np.zeros((9, 9, 3), np.uint8)),
            "invalid",
            "is 9 x 9 px; its annotation",
        ),
        "cut": (good, image[: len(image) // 2], "invalid", "broken JPEG"),
    }
    for name, (text, data, _, _) in broken.items():
        (annotations / f"{name}.xml").write_text(text)
        if data is not None:
            (dior / f"JPEGImages-trainval/{name}.jpg").write_bytes(data)
    (dior / "JPEGImages-trainval/unlabelled.jpg").write_bytes(image)
    names = {path.stem for path in annotations.glob("*.xml")} - {"00001"}
    for path in (dior / "ImageSets/Main").glob("*.txt"):
        path.unlink()
    (dior / "ImageSets/Main/train.txt").write_text("\n".join(sorted(names)))

    plan = make_plan(source(dior, preset="dior"), tmp_path / "set")
    assert plan.info.notes == {
        "images left out: without annotations": 1,
        "images left out: in no list of a split": 1,
    }
    build(tmp_path / "set", workers=0)
    rows = pq.read_table(tmp_path / "set/failures.parquet").to_pylist()
    failures = {Path(row["item"]).stem: (row["class"], row["reason"]) for row in rows}
    assert failures.keys() == broken.keys()
    for name, (_, _, kind, said) in broken.items():
        assert failures[name][0] == kind and said in failures[name][1], failures[name]
    assert Index.open(tmp_path / "set").info.samples == 3


@pytest.mark.parametrize("name", ["dota", "xview"])
def test_tiles_hold_every_object(name: str, tmp_path: Path) -> None:
    """PNG with turned boxes, GeoTIFF with plain ones: what is no larger than the overlap is whole in some tile."""
    folder, shots = tree(name)
    split = {"test_fraction": 0.5} if name == "xview" else {}
    index = built(
        source(folder, preset=name, tile_px=80, overlap_px=40, visible=0.99, **split), tmp_path / "set"
    )
    assert len(index) == len(shots) * 9
    drawn = {
        Path(image).stem.strip("P"): shot for image, shot in zip(_images(folder, name), shots, strict=True)
    }
    found: dict[str, list[tuple[float, ...]]] = {}
    for tile, parts in members(index).items():
        image, _, corner = tile.partition("@")
        left, top = map(int, corner.split(","))
        stem = Path(image).stem.strip("P")
        for box in decode_boxes(parts[BOXES]):
            box.check(80, 80, len(index.info.targets[0].classes))
            found.setdefault(stem, []).append(
                (box.left + left, box.top + top, box.right + left, box.bottom + top)
            )
        pixels = decode_rgb("jpg", parts["jpg"])
        truth = drawn[stem].pixels[top : top + 80, left : left + 80]
        assert pixels.shape == truth.shape and abs(pixels.astype(int) - truth).mean() < 4
    seen = 0
    for stem, shot in drawn.items():
        for outline in shot.objects:
            if outline.kind not in (XVIEW if name == "xview" else DOTA):
                continue
            turned = np.clip(np.array(outline.turned).round(1), 0, SIDE)
            box = outline.box if name == "xview" else (*turned.min(0), *turned.max(0))
            if box[2] - box[0] <= 39 and box[3] - box[1] <= 39:
                seen += 1
                assert min(max(abs(np.subtract(box, other))) for other in found[stem]) < 0.11, (stem, box)
    assert seen >= 4
    if name == "xview":
        assert index.info.notes["boxes dropped: type 75 is none of the 60 classes"] == len(shots), (
            "once an image"
        )
        groups = {row["image"]: row["split"] for row in index.table.select(["image", "split"]).to_pylist()}
        assert sorted(groups.values()) == ["test", "test", "train", "train"], "an image is of one split"
        assert index.table["lon"].null_count == 0
    else:
        assert set(index.table["gsd_m"].to_pylist()) == {0.8}


def test_an_interrupted_build_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """Random tiles of the published experiment, begun, left and continued."""
    known = source(tree("xview")[0], preset="xview", tile_px=48, windows=6, samples_per_shard=7)
    index = built(known, tmp_path / "whole")
    per_image = Counter(index.table["image"].to_pylist())
    assert len(per_image) == 4 and 2 <= min(per_image.values()) <= max(per_image.values()) <= 6
    make_plan(known, tmp_path / "again")
    build(tmp_path / "again", workers=0, limit=5)
    assert not status(tmp_path / "again").finished
    build(tmp_path / "again", workers=0)
    assert same(tmp_path / "again", tmp_path / "whole")


def _images(folder: Path, name: str) -> list[Path]:
    found = folder.glob("*/images/*.png") if name == "dota" else folder.glob("train_images/*.tif")
    return sorted(found, key=lambda path: path.stem)


def test_coco_keeps_outlines_and_a_missing_or_leaving_image_fails(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tree("crowdai")[0], tmp_path / "crowdai"))
    path = folder / "train/annotation.json"
    file = json.loads(path.read_text())
    gone = file["images"][0]["file_name"]
    (folder / "train/images" / gone).unlink()
    file["images"].append({"id": 99, "file_name": "../../../secret.jpg", "width": 9, "height": 9})
    path.write_text(json.dumps(file))
    make_plan(source(folder, preset="crowdai"), tmp_path / "set")
    build(tmp_path / "set", workers=0)
    failures = {r["item"]: r["class"] for r in pq.read_table(tmp_path / "set/failures.parquet").to_pylist()}
    assert failures == {
        f"train/images/{gone}": "gone",
        "train/images/../../../secret.jpg": "refused",
    }
    index = Index.open(tmp_path / "set")
    shots = {int(shot.name): shot for shot in tree("crowdai")[1]}
    for image, parts in members(index).items():
        rings = {box.rings[0] for box in decode_boxes(parts[BOXES])}
        drawn = {o.rings[0] for o in shots[int(Path(image).stem)].objects if o.kind == 1}
        assert rings == drawn

    page = gather(index, places=9, seed=0)
    assert page.dense
    assert dict(page.classes) == {
        "building": sum(bool(labels) for labels in index.table["labels"].to_pylist())
    }
    for card in page.cards:
        (image,) = [image for image in members(index) if card.key in image.replace("/", "_")]
        count = len(decode_boxes(members(index)[image][BOXES]))
        assert card.found == (f"{count} building" if count else "no objects")
        shown = decode_rgb("jpg", card.thumbs[0].jpeg).astype(int)
        colour = np.array([int(hex_colour(0)[at : at + 2], 16) for at in (1, 3, 5)])
        assert shown.shape == (336, 336, 3)
        assert ((abs(shown - colour).max(-1) < 40).sum() > 60) == (count > 0), (
            "outlines in the colour of the class"
        )


def test_options_that_cannot_be_are_refused_in_a_sentence(dior: Path, tmp_path: Path) -> None:
    for options, said in (
        ({}, "give --preset, or --format, --images and --annotations"),
        ({"preset": "dior", "windows": 3}, "windows: needs --tile-px"),
        ({"preset": "dior", "tile_px": 10, "overlap_px": 10}, "never move on"),
        ({"preset": "dior", "dtype": "uint16"}, "--band-names"),
    ):
        with pytest.raises(ConfigError, match=said):
            source(dior, **options)
    for options, said in (
        ({"images": "pictures/{id}.jpg"}, "cannot be listed"),
        ({"images": "JPEGImages-trainval/{id}.png"}, "no file is like"),
        ({"annotations": "Annotations/*/{id}.xml"}, "are both of id 0000"),
        ({"images": "JPEGImages-trainval/{name}.jpg"}, "no named part in common"),
        ({"images": "../{id}.jpg"}, "leaves the folder"),
        (
            {"val_fraction": 0.4, "test_fraction": 0.6, "preset": None, "format": "voc"},
            "leave none for train",
        ),
    ):
        known = {
            "preset": "dior",
            "images": "JPEGImages-trainval",
            "annotations": "Annotations/Oriented Bounding Boxes",
        }
        with pytest.raises(ConfigError, match=said):
            source(dior, **{k: v for k, v in (known | options).items() if v is not None}).listing()


@pytest.mark.slow
def test_the_command(dior: Path, tmp_path: Path) -> None:
    annotations = "Annotations/Oriented Bounding Boxes"
    done = rsdata(
        "run", "detection", tmp_path / "set", "--root", dior, "--format", "voc", "--images", "JPEGImages-trainval",
        "--annotations", annotations, "--val-fraction", "0.5", "--workers", "0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = set_facts(tmp_path / "set")
    classes = facts.info.targets[0].classes
    assert classes == sorted(classes) and facts.info.splits == {"train": 2, "val": 2}
    assert f"boxes.json ({len(classes)} classes)" in facts.summary()
