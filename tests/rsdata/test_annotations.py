"""Annotations of four formats, read back to what the planet drew; broken, odd and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dense_trees import SIDE, corners, lit, off_edges, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdata.annotations import archive, coco_json, dota_text, voc_xml
from rsdata.annotations.found import Facts, rows_of, tidy
from rsdata.annotations.masks import from_boxes, mask_values
from rsdata.annotations.values import Values
from rsdata.curate.tiling import cut, random_tiles, tiles
from rsdata.sandbox.detection_tree import DIOR, DOTA, XVIEW
from rsdata.sandbox.world.things import Thing
from rsdata.sources.detection_presets import DETECTION
from shards.errors import ConfigError
from shards.targets import Box


def read(name: str, annotations: str = "") -> archive.Archive:
    folder, _ = tree(name)
    known = DETECTION[name]
    return archive.read(
        folder, known.format, known.images, annotations or known.annotations, list(known.classes)
    )


@pytest.mark.parametrize("name", ["dior", "xview", "crowdai"])
def test_each_format_gives_the_boxes_that_were_drawn(name: str) -> None:
    known, (_, shots) = read(name), tree(name)
    kinds = {
        "dior": {kind: known.classes.index(DIOR[kind]) for kind in DIOR} if name == "dior" else {},
        "xview": dict(zip(XVIEW, (48, 2, 23, 55, 59), strict=True)),
        "crowdai": {Thing.BUILDING: 0},
    }[name]
    by_number = {int("".join(c for c in Path(i.path).stem if c.isdigit())): i for i in known.images}
    assert len(by_number) == len(shots) and sum(len(i.about.boxes) for i in known.images) > 5
    for shot in shots:
        image = by_number[int(shot.name) + (name == "xview")]
        drawn = {(kinds[o.kind], *map(float, o.box)) for o in shot.objects if o.kind in kinds}
        assert corners(list(image.about.boxes)) == drawn
        if name == "crowdai":
            rings = {box.rings[0] for box in image.about.boxes}
            assert rings == {o.rings[0] for o in shot.objects if o.kind in kinds}, "outlines too"


@pytest.mark.parametrize("name", ["dior", "dota"])
def test_turned_boxes_keep_their_corners(name: str) -> None:
    known = read(name, "Annotations/Oriented Bounding Boxes/{id}.xml" if name == "dior" else "")
    _, shots = tree(name)
    names = DIOR if name == "dior" else DOTA
    read_back = {image.path.rsplit("/", 1)[-1].strip("P")[:5]: image.about for image in known.images}
    for shot in shots:
        about, drawn = read_back[shot.name], [o for o in shot.objects if o.kind in names]
        assert [known.classes[box.label] for box in about.boxes] == [names[o.kind] for o in drawn]
        for box, outline in zip(about.boxes, drawn, strict=True):
            assert np.allclose(box.rings[0], outline.turned, atol=0.051)
        assert name == "dior" or about.gsd_m == 0.8


def coco(path: Path, objects: list[dict[str, object]], **image: object) -> Path:
    images = [{"id": 1, "file_name": "a.jpg", "width": 300, "height": 300, **image}]
    rows = [{"image_id": 1, "category_id": 100, "iscrowd": 0, **o} for o in objects]
    file = {"images": images, "categories": [{"id": 100, "name": "building"}], "annotations": rows}
    path.write_text(json.dumps(file))
    return path


def test_crowdai_boxes_come_from_the_outline(tmp_path: Path) -> None:
    """The broken boxes of the release (sn7-vicreg sheet, section 5.2), and what else its file has."""
    found = coco_json.read(
        coco(
            tmp_path / "a.json",
            [
                {"segmentation": [[191, 29, 238, 29, 238, 100, 191, 100]], "bbox": [29, 191, 209, 47]},
                {
                    "segmentation": [[8, 185, 233, 185, 233, 300, 8, 300, -1e-14, 240]],
                    "bbox": [8, 8, 292, 225],
                },
                {"segmentation": [[50, 50, 60, 50, 70, 50]], "bbox": [50, 50, 20, 0]},
                {
                    "segmentation": {"counts": [9, 9], "size": [300, 300]},
                    "bbox": [1, 2, 30, 40],
                    "iscrowd": 1,
                },
                {"bbox": [290, 290, 40, 40]},
                {"bbox": [290, 290, 40, 40]},
                {"bbox": [400, 10, 5, 5]},
                {"bbox": [10, 10, -3, 5]},
                {"segmentation": [[1, 2, 3, 4]]},
                {"bbox": [1, 1, 9, 9], "category_id": 7},
                {"bbox": [1, 1, 9, 9], "image_id": 99},
            ],
        )
    )
    (image,) = found.images
    boxes, notes = tidy(image.boxes, image.width, image.height)
    assert corners(boxes) == {
        (0, 191, 29, 238, 100),
        (0, 0, 185, 233, 300),
        (0, 1, 2, 31, 42),
        (0, 290, 290, 300, 300),
    }
    assert [box.crowd for box in boxes] == [False, False, True, False]
    for box in boxes:
        box.check(300, 300, 1)
    assert dict(image.notes) == {
        "boxes taken from the outline: bbox differs": 2,
        "outlines dropped: run lengths": 1,
        "outlines dropped: fewer than three corners": 1,
        "boxes dropped: neither bbox nor polygon": 1,
        "boxes dropped: category 7 is not in the list": 1,
    }
    assert dict(found.notes) == {"boxes dropped: of an image that is not in the list": 1}
    assert dict(notes) == {
        "boxes dropped: no area": 2,
        "boxes clipped to the image": 2,
        "boxes dropped: the same twice": 1,
        "boxes dropped: outside of the image": 1,
    }
    kept = Facts.load(Facts(rows_of(boxes)).dump()).boxes
    assert corners(kept) == corners(boxes) and rows_of(kept) == rows_of(boxes), "a plan keeps them"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE a [<!ENTITY b "boom">]><annotation>&b;</annotation>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
        ("<annotation><size>", "broken XML"),
        ("<html/>", "<html> without <size>"),
        ("<annotation><size><width>9</width></size></annotation>", "no <height>"),
        ("BOX<bndbox><xmin>a</xmin></bndbox>", "<xmin> is 'a', not a number"),
        ("BOX<polygon/>", "neither <bndbox> nor <robndbox>"),
    ],
)
def test_a_bad_xml_is_one_image_that_fails(tmp_path: Path, text: str, said: str) -> None:
    size = "<size><width>9</width><height>9</height></size>"
    if text.startswith("BOX"):
        text = f"<annotation>{size}<object><name>n</name>{text[3:]}</object></annotation>"
    (tmp_path / "bad.xml").write_bytes(text.encode("utf-16" if "DOCTYPE" in text else "utf-8"))
    (tmp_path / "good.xml").write_text(f"<annotation>{size}</annotation>")
    bad, good = voc_xml.read({name: tmp_path / f"{name}.xml" for name in ("bad", "good")}).images
    assert good.error is None and (good.width, good.height) == (9, 9)
    assert bad.error and said in bad.error and bad.error.startswith("bad.xml: ") and "\n" not in bad.error


def test_bad_text_and_bad_json_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("imagesource:x\ngsd:null\n1 2 3 4 5 6 7 8 ship 1\n1 2 3 ship\n")
    (image,) = dota_text.read({"a": tmp_path / "a.txt"}).images
    assert image.error == "a.txt: line 4 has 4 parts, expected 8 numbers, a class and a difficulty"
    with pytest.raises(ConfigError, match=r"is no COCO file of instances .*annotations"):
        coco_json.read(coco(tmp_path / "a.json", [{"bbox": "no"}]))
    with pytest.raises(ConfigError, match="two images have one id"):
        broken = json.loads(coco(tmp_path / "a.json", []).read_text())
        (tmp_path / "a.json").write_text(json.dumps(broken | {"images": broken["images"] * 2}))
        coco_json.read(tmp_path / "a.json")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-20, 84).map(lambda v: round(v, 3) + 1e-4)] * 2), min_size=3, max_size=9)
)
def test_an_outline_in_a_tile_covers_the_pixels_that_it_covers_in_the_image(
    ring: list[tuple[float, float]],
) -> None:
    xs, ys = zip(*ring, strict=True)
    boxes, _ = tidy([Box(0, min(xs), min(ys), max(xs), max(ys), rings=(tuple(ring),))], 64, 64)
    whole = from_boxes(boxes, (0, 0, 64, 64))
    known = off_edges(ring, 64)  # a centre on an edge is in or out as rounding has it
    assert (whole == lit([ring], 64))[known].all() or not boxes
    for window in tiles(64, 64, 24, 4):
        left, top, right, bottom = window
        inside, _ = cut(boxes, window, 1e-9)
        part = from_boxes(inside, (0, 0, right - left, bottom - top))
        assert (part == whole[top:bottom, left:right])[known[top:bottom, left:right]].all()
        for box in inside:
            box.check(right - left, bottom - top, 1)


def test_tiles_cover_an_image_and_random_ones_share_little() -> None:
    for width, height, side, overlap in (
        (100, 70, 32, 8),
        (32, 32, 32, 0),
        (20, 90, 32, 31),
        (65, 64, 32, 0),
    ):
        seen = np.zeros((height, width), int)
        for left, top, right, bottom in tiles(width, height, side, overlap):
            assert (right - left, bottom - top) == (min(side, width), min(side, height))
            seen[top:bottom, left:right] += 1
        assert seen.min() == 1
    assert len(tiles(100, 70, 32, 8)) == 4 * 3
    drawn = random_tiles(1000, 800, 100, 40, 0.25, 3)
    assert len(drawn) == len(set(drawn)) == 40 and drawn == random_tiles(1000, 800, 100, 40, 0.25, 3)
    shared = [
        max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
        for i, a in enumerate(drawn)
        for b in drawn[:i]
    ]
    assert 0 < max(shared) <= 2500
    assert random_tiles(50, 50, 100, 40, 0.25, 3) == [(0, 0, 50, 50)], "a small image holds one"


def test_a_box_counts_where_enough_of_it_is_seen() -> None:
    boxes = [Box(0, 0, 0, 10, 10), Box(1, 90, 0, 110, 10), Box(2, 95, 0, 125, 10), Box(3, 200, 0, 210, 10)]
    kept, lost = cut(boxes, (100, 0, 200, 100), 0.5)
    assert corners(kept) == {(1, 0, 0, 10, 10), (2, 0, 0, 25, 10)} and lost == 0
    kept, lost = cut(boxes, (100, 0, 200, 100), 0.7)
    assert corners(kept) == {(2, 0, 0, 25, 10)} and lost == 1


def test_values_of_masks() -> None:
    loveda = Values.parse("0:ignore,1:0,2:1")
    assert loveda.classes_of(np.array([[0, 1], [2, 2]]), 2).tolist() == [[255, 0], [1, 1]]
    with pytest.raises(ValueError, match="the value 7, which --values does not name"):
        loveda.classes_of(np.array([[7]]), 2)
    assert Values.parse("1:1,3:1,*:0").classes_of(np.array([[0, 1, 3, 9]]), 2).tolist() == [[0, 1, 1, 0]]
    assert Values.parse("").classes_of(np.array([[0, 1, 255]]), 2).tolist() == [[0, 1, 255]]
    with pytest.raises(ValueError, match="has class 2, and there are 2"):
        Values.parse("").classes_of(np.array([[2]]), 2)
    colours = Values.parse("#ff0000:1,#000000:0")
    assert colours.classes_of(np.array([[0xFF0000, 0]]), 2).tolist() == [[1, 0]]
    for text, said in (
        ("1", "is not VALUE:CLASS"),
        ("1:255", "is not VALUE:CLASS"),
        ("#ff:1", "is no value"),
        ("1:0,1:1", "two meanings"),
        ("#ff0000:1,2:0", "all values are colours or none"),
    ):
        with pytest.raises(ValueError, match=said):
            Values.parse(text)
    with pytest.raises(ValueError, match="the mask: not an image"):
        mask_values(b"GIF8?", colours=False)


def test_the_truth_of_the_planet_is_exact() -> None:
    """Outlines painted by another rule give the pixels of the objects; they are all of one kind, and all built."""
    _, shots = tree("spacenet")
    for shot in shots:
        houses = np.zeros((SIDE, SIDE), bool)
        for outline in shot.objects:
            if outline.kind == Thing.BUILDING:
                houses |= lit(outline.rings, SIDE)
        small = (shot.cover == 1) & ~houses
        assert not (houses & (shot.cover != 1)).any() and small.sum() < 12 * 8, "only specks are left out"
