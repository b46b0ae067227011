"""Layouts, splits and refusals of the image folder source."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_trees import folder, write_folder

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sources import source_of
from rsdata.sources.imagefolder import ImageFolder
from shards.errors import ConfigError
from shards.index import Index


def test_split_folders_are_found_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/b": 3, "train/a": 2, "Validation/b": 1, "test/a": 1})
    listing = folder(root).listing()
    assert listing.classes == ["a", "b"]
    assert Counter((i.split, i.label) for i in listing.items) == {
        ("train", 0): 2, ("train", 1): 3, ("val", 1): 1, ("test", 0): 1
    }  # fmt: skip
    assert listing.notes["layout: split folders"] == 3
    with pytest.raises(ConfigError, match="has its own splits"):
        folder(root, test_fraction=0.5).listing()


def test_a_class_named_test_is_a_class(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"test": 2, "town": 2})
    assert folder(root).listing().classes == ["test", "town"]


def test_deeper_folders_belong_to_the_class(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"a/2019": 2, "a/2020": 1, "b": 1})
    listing = folder(root).listing()
    assert Counter(i.facts for i in listing.items) == {"a": 3, "b": 1}


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(2, 40), min_size=1, max_size=3),
    test=st.floats(0, 0.5),
    val=st.floats(0, 0.4),
    seed=st.integers(0, 9),
)
def test_fractions_are_exact_in_each_class(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], test: float, val: float, seed: int
) -> None:
    root = tmp_path_factory.mktemp("fractions")
    for c, count in enumerate(counts):
        (root / f"c{c}").mkdir()
        for i in range(count):
            (root / f"c{c}" / f"{i}.jpg").touch()
    expected = {(c, "test"): int(n * test + 0.5) for c, n in enumerate(counts)}
    expected |= {(c, "val"): int(n * val + 0.5) for c, n in enumerate(counts)}
    source = folder(root, test_fraction=test, val_fraction=val, seed=seed)
    if any(expected[c, "test"] + expected[c, "val"] >= n for c, n in enumerate(counts)):
        with pytest.raises(ConfigError, match="leave none for train"):
            source.listing()
        return
    found = Counter((i.label, i.split) for i in source.listing().items)
    assert {key: found[key] for key in expected} == expected
    assert source.listing().items == source.listing().items


def test_class_list_file_gives_the_labels(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"a": 1, "b": 1})
    order = tmp_path / "classes.txt"
    order.write_text("b\nunseen\na\n")
    listing = folder(root, classes=order).listing()
    assert listing.classes == ["b", "unseen", "a"]
    assert {i.facts: i.label for i in listing.items} == {"a": 2, "b": 0}
    order.write_text("b\n")
    with pytest.raises(ConfigError, match=r"not named in .*classes.txt, the first is 'a'"):
        folder(root, classes=order).listing()


def test_refusals_are_plain(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"a": 1, "b": 1})
    with pytest.raises(ConfigError, match="has 2 class folders, eurosat has 10"):
        folder(root, preset="eurosat").listing()
    (root / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"in/empty: the class folder has no images"):
        folder(root).listing()
    with pytest.raises(ConfigError, match=r"1 images and no class folders; expected ROOT/<class>/<image>"):
        folder(root / "a").listing()
    with pytest.raises(ConfigError, match="cannot be listed"):
        folder(tmp_path / "nowhere").listing()
    with pytest.raises(ConfigError, match="leave nothing for train"):
        folder(root, test_fraction=0.6, val_fraction=0.4)
    with pytest.raises(ConfigError, match=r"kind: 'sentinel9' is no source; known: imagefolder, fmow"):
        source_of({"kind": "sentinel9"})


def test_size_scales_down_and_never_up(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"large": 2}, side=64)
    write_folder(root, {"small": 2}, side=16)
    make_plan(folder(root, size=32), tmp_path / "out")
    build(tmp_path / "out", workers=0)
    index = Index.open(tmp_path / "out")
    sides = Counter(zip(index.table["class_name"].to_pylist(), index.column("width"), strict=True))
    assert sides == {("large", 32): 2, ("small", 16): 2}


@pytest.mark.slow
def test_real_archive(tmp_path: Path, shared_data: Path) -> None:
    import tarfile

    with tarfile.open(shared_data / "aid-96.tar") as tar:
        tar.extractall(tmp_path / "aid", filter="data")
    source = ImageFolder(root=tmp_path / "aid", preset="aid", test_fraction=0.3333)
    plan = make_plan(source, tmp_path / "out")
    assert len(plan.info.classes) == 30 and plan.info.items == 10_000
    assert {s.split for s in plan.info.shards} == {"train", "test"}
    report = build(tmp_path / "out", workers=2)
    assert report.finished and not report.failures and report.samples == 10_000
