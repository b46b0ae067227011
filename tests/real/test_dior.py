"""The DIOR sample: one image of the release with its oriented annotation."""

from __future__ import annotations

from pathlib import Path

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sources.detection import Detection
from shards.index import Index
from shards.targets import decode_boxes, sample_members
from shards.verify import verify


def test_the_released_image_has_its_golf_course(shared_data: Path, tmp_path: Path) -> None:
    source = Detection.build(
        root=str(shared_data / "dior"),
        preset="dior",
        images="JPEGImage/{id}.jpg",
        annotations="Annotations/Oriented Bounding Boxes/{id}.xml",
    )
    make_plan(source, tmp_path / "set")
    assert not build(tmp_path / "set", workers=0).failures
    assert verify(tmp_path / "set").ok
    index = Index.open(tmp_path / "set")
    members = sample_members(index, 0)
    (box,) = decode_boxes(members["boxes.json"])
    assert index.info.targets[0].classes[box.label] == "golffield"
    assert (box.left, box.top, box.right, box.bottom) == (133, 237, 684, 672)
    assert box.rings == (((133, 237), (684, 237), (684, 672), (133, 672)),) and not box.difficult
    assert (index.table["width"][0].as_py(), index.table["height"][0].as_py()) == (800, 800)
    assert members["jpg"] == (shared_data / "dior/JPEGImage/00001.jpg").read_bytes()
