"""ImageNet with folders and with the devkit, Million-AID in all its layouts, built and verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from image_trees import pixels
from scipy.io import savemat

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sources.imagenet import ImageNet
from rsdata.sources.millionaid import MillionAID
from shards.codec import encode_jpeg
from shards.errors import ConfigError
from shards.index import Index
from shards.verify import verify

WNIDS = ["n01440764", "n02123045", "n09472597"]
NUMBERS = {1: "n02123045", 2: "n09472597", 3: "n01440764"}
"""As in the true devkit, not in the order of the ids."""


def put(path: Path, *address: int, side: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_jpeg(pixels(*address, height=side, width=side)))


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    root = tmp_path / "imagenet"
    for c, wnid in enumerate(WNIDS):
        for i in range(4):
            put(root / "train" / wnid / f"{wnid}_{i}.JPEG", c, i)
    return root


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    folder = tmp_path / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    rows = [(number, wnid, f"name of {wnid}, synonym") for number, wnid in NUMBERS.items()]
    savemat(folder / "meta.mat", {"synsets": np.array([*rows, (4, "n00000001", "entity")], kind)[:, None]})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("3\n1\n2\n1\n")
    return folder.parent


def flat_val(root: Path) -> None:
    for number in range(1, 5):
        put(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG", 9, number)


def test_a_flat_val_gets_its_classes_from_the_devkit(imagenet: Path, devkit: Path, tmp_path: Path) -> None:
    flat_val(imagenet)
    make_plan(ImageNet.build(root=str(imagenet), devkit=devkit), tmp_path / "set")
    assert build(tmp_path / "set", workers=0).failures == 0
    assert verify(tmp_path / "set").ok
    index = Index.open(tmp_path / "set")
    assert index.info.classes == [f"{wnid} name of {wnid}" for wnid in WNIDS]
    assert index.info.splits == {"train": 12, "val": 4}
    rows = {row["source"]: row for row in index.table.to_pylist()}
    found = [rows[f"val/ILSVRC2012_val_{number:08d}.JPEG"]["label"] for number in range(1, 5)]
    assert found == [0, 1, 2, 1], "the numbers of the devkit are not positions in the sorted ids"
    row = rows["train/n02123045/n02123045_3.JPEG"]
    assert (row["label"], row["wnid"], row["class_name"]) == (1, "n02123045", "name of n02123045")
    position = index.table["source"].to_pylist().index("train/n02123045/n02123045_3.JPEG")
    original = (imagenet / "train/n02123045/n02123045_3.JPEG").read_bytes()
    assert index.read(position) == original, "bytes are kept"


def test_a_val_of_folders_needs_no_devkit(imagenet: Path) -> None:
    for c, wnid in enumerate(WNIDS[:2]):
        put(imagenet / "val" / wnid / f"ILSVRC2012_val_{c:08d}.JPEG", 8, c)
    put(imagenet / "val" / "n00000009" / "x.JPEG", 8, 9)
    listing = ImageNet.build(root=str(imagenet)).listing()
    assert [item.label for item in listing.items if item.split == "val"] == [0, 1]
    assert listing.notes == {"val images of classes that train does not have": 1}
    assert listing.classes == WNIDS


def test_imagenet_says_what_is_missing(imagenet: Path, devkit: Path) -> None:
    flat_val(imagenet)
    with pytest.raises(ConfigError, match="give --devkit"):
        ImageNet.build(root=str(imagenet)).listing()
    put(imagenet / "val" / "ILSVRC2012_val_00000007.JPEG", 1)
    with pytest.raises(ConfigError, match=r"00000007.*no line in the ground truth"):
        ImageNet.build(root=str(imagenet), devkit=devkit).listing()
    (imagenet / "train" / "n01440764.tar").write_bytes(b"")
    (imagenet / "train" / "dogs").mkdir()
    with pytest.raises(ConfigError, match="'dogs' is no wnid"):
        ImageNet.build(root=str(imagenet), devkit=devkit).listing()
    (devkit / "data" / "meta.mat").write_bytes(b"MATLAB 5.0 not really")
    with pytest.raises(ConfigError, match=r"is not meta\.mat"):
        ImageNet.build(root=str(imagenet), devkit=devkit).listing()


@pytest.fixture
def millionaid(tmp_path: Path) -> Path:
    root = tmp_path / "million_aid"
    number = 0
    for path in ("agriculture_land/grassland/meadow", "agriculture_land/paddy_field", "water_area/lake"):
        for _ in range(3):
            put(root / "train" / path / f"P{number:07d}.jpg", number, side=40)
            number += 1
    for number in range(100, 104):
        put(root / "test" / f"P{number:07d}.jpg", number, side=40)
    put(root / "test" / "test_02" / "P0000200.jpg", 200, side=40)
    return root


def test_both_splits_of_millionaid(millionaid: Path, tmp_path: Path) -> None:
    make_plan(MillionAID.build(root=str(millionaid), size=32), tmp_path / "set")
    assert build(tmp_path / "set", workers=0).failures == 0
    assert verify(tmp_path / "set").ok
    index = Index.open(tmp_path / "set")
    assert index.info.classes == ["lake", "meadow", "paddy_field"]
    assert index.info.splits == {"test": 5, "train": 9}
    rows = {row["source"]: row for row in index.table.to_pylist()}
    meadow = rows["train/agriculture_land/grassland/meadow/P0000000.jpg"]
    assert (meadow["label"], meadow["class_path"], meadow["width"]) == (
        1,
        "agriculture_land/grassland/meadow",
        32,
    )
    assert {row["label"] for row in rows.values() if row["split"] == "test"} == {None}
    assert "test/test_02/P0000200.jpg" in rows, "nested leftovers are not skipped without a word"


def test_one_split_and_no_labels_at_all(millionaid: Path) -> None:
    listing = MillionAID.build(root=str(millionaid), splits=("test",)).listing()
    assert (len(listing.items), listing.classes, listing.notes) == (5, [], {"without a label": 5})
    put(millionaid / "train" / "P0000300.jpg", 300)
    listing = MillionAID.build(root=str(millionaid), splits=("train",)).listing()
    assert listing.notes == {"without a label": 1}


def test_millionaid_says_what_is_wrong(millionaid: Path) -> None:
    put(millionaid / "train" / "water_area" / "meadow" / "P0000400.jpg", 400)
    with pytest.raises(ConfigError, match=r"'meadow' lies in .* and in"):
        MillionAID.build(root=str(millionaid)).listing()
    (millionaid / "test" / "test_03.zip").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="unpack it there"):
        MillionAID.build(root=str(millionaid), splits=("test",)).listing()
    with pytest.raises(ConfigError, match="'val' is none of them"):
        MillionAID.build(root=str(millionaid), splits=("val",)).listing()
    with pytest.raises(ConfigError, match="has no folder train or test"):
        MillionAID.build(root=str(millionaid / "train")).listing()
