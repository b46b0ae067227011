"""Published lists of splits: those of Scale-MAE, of GeRSP and of google-research."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from image_trees import folder, write_folder

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sources.preset_classes import CLASSES
from rsdata.sources.presets import PRESETS
from shards.errors import ConfigError
from shards.index import Index


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "in", {"AnnualCrop": 3, "Forest": 3, "SeaLake": 2})


def listed(folder: Path, **files: str) -> tuple[Path, ...]:
    """Files with these lines; `train="a b"` is train.txt with the lines a and b."""
    paths = []
    for name, text in files.items():
        paths.append(folder / f"{name.replace('_', '-')}.txt")
        paths[-1].write_text(text)
    return tuple(paths)


def test_lists_of_paths_decide_splits_and_leave_out_the_rest(root: Path, tmp_path: Path) -> None:
    """`./class/file` a line, as scale-mae has them; labels are of the folders, not of each list."""
    files = listed(
        tmp_path,
        train="./AnnualCrop/AnnualCrop_0.jpg\n./SeaLake/SeaLake_0.jpg\n\n",
        val="./SeaLake/SeaLake_1.jpg\n./Forest/Forest_7.jpg\n",
    )
    source = folder(root, split_file=files)
    make_plan(source, tmp_path / "out")
    report = build(tmp_path / "out", workers=0)
    assert report.finished and report.failures == 1, "Forest_7 is in the list and not in the folder"
    index = Index.open(tmp_path / "out")
    rows = zip(*(index.table[name].to_pylist() for name in ("source", "split", "label")), strict=True)
    assert set(rows) == {
        ("AnnualCrop/AnnualCrop_0.jpg", "train", 0),
        ("SeaLake/SeaLake_0.jpg", "train", 2),
        ("SeaLake/SeaLake_1.jpg", "val", 2),
    }
    assert source.listing().notes["left out: in no list of --split-file"] == 5


def test_bare_names_are_found_in_their_class_folders(root: Path, tmp_path: Path) -> None:
    """As the lists of google-research for EuroSAT have them."""
    files = listed(tmp_path, eurosat_train="Forest_0.jpg\nSeaLake_0.jpg\n", eurosat_test="AnnualCrop_2.jpg\n")
    items = folder(root, split_file=files).listing().items
    assert Counter((i.id, i.split, i.label) for i in items) == {
        ("Forest/Forest_0.jpg", "train", 1): 1,
        ("SeaLake/SeaLake_0.jpg", "train", 2): 1,
        ("AnnualCrop/AnnualCrop_2.jpg", "test", 0): 1,
    }
    with pytest.raises(
        ConfigError, match=r"train.txt, line 1: 'Forest_9.jpg' is no image in the class folders"
    ):
        folder(root, split_file=listed(tmp_path, train="Forest_9.jpg")).listing()


def test_labels_of_a_list_order_the_classes(root: Path, tmp_path: Path) -> None:
    """`path label`, as mmselfsup and GeRSP have them."""
    train = "SeaLake/SeaLake_0.jpg 0\nAnnualCrop/AnnualCrop_0.jpg 2\nForest/Forest_0.jpg 1\n"
    listing = folder(root, split_file=listed(tmp_path, train=train)).listing()
    assert listing.classes == ["SeaLake", "Forest", "AnnualCrop"]
    assert {i.facts: i.label for i in listing.items} == {"SeaLake": 0, "Forest": 1, "AnnualCrop": 2}
    order = tmp_path / "classes.txt"
    order.write_text("AnnualCrop\nForest\nSeaLake\n")
    with pytest.raises(ConfigError, match="name 'SeaLake' first, --classes 'AnnualCrop'"):
        folder(root, split_file=listed(tmp_path, train=train), classes=order).listing()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"train": "Forest/Forest_0.jpg\nForest/Forest_1.jpg 1"}, "line 1: has no label"),
        (
            {"train": "Forest/Forest_0.jpg 0\nForest/Forest_1.jpg 1"},
            "line 2: class 'Forest' has label 1, and 0",
        ),
        ({"train": "Forest/Forest_0.jpg 3"}, r"the labels of the lists are \[3\]"),
        ({"train": "Forest/Forest_0.jpg", "val": "./Forest/Forest_0.jpg"}, "stands in train.txt, line 1 too"),
        ({"train": "../secret.jpg"}, "leaves the folder of the archive"),
        ({"train": "\n"}, "is empty"),
        ({"images": "Forest/Forest_0.jpg"}, "must tell its split"),
        ({"train_test": "Forest/Forest_0.jpg"}, "must tell its split"),
    ],
)
def test_lists_of_no_use_are_refused(root: Path, tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        folder(root, split_file=listed(tmp_path, **files)).listing()


def test_lists_and_fractions_exclude_each_other(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a list decides the splits"):
        folder(root, split_file=listed(tmp_path, train="Forest/Forest_0.jpg"), val_fraction=0.1)


def test_presets_know_their_classes(tmp_path: Path) -> None:
    for name, classes in CLASSES.items():
        assert len(classes.split()) == PRESETS[name].classes and classes.split() == sorted(classes.split())
    counts = dict.fromkeys(CLASSES["eurosat"].split(), 1)
    assert folder(write_folder(tmp_path / "a", counts), preset="eurosat").listing().classes == list(counts)
    counts["Lake"] = counts.pop("SeaLake")
    with pytest.raises(ConfigError, match="'Lake' is no class of eurosat as published"):
        folder(write_folder(tmp_path / "b", counts), preset="eurosat").listing()
