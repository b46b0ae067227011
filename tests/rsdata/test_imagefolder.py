"""Layouts, splits and refusals of the image folder source."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from image_trees import digests, folder, write_folder
from rasterio.transform import from_origin

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sources import source_of
from rsdata.sources.imagefolder import ImageFolder
from rsdata.sources.preset_classes import CLASSES
from shards.errors import ConfigError
from shards.index import Index
from shards.raster import decode_raster
from shards.verify import verify


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
    with pytest.raises(ConfigError, match="nowhere: is neither a folder nor a file"):
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


@pytest.mark.parametrize("top", ["", "EuroSAT_RGB", "data/EuroSAT_RGB"])
def test_an_archive_is_read_like_its_folder(tmp_path: Path, top: str) -> None:
    root = write_folder(tmp_path / "in" / top, {"a": 2, "b": 1})
    shutil.make_archive(str(tmp_path / "set"), "gztar", tmp_path / "in")
    archive = folder(tmp_path / "set.tar.gz", cache=tmp_path / "cache")
    for source, out in ((folder(root), "a"), (archive, "b")):
        make_plan(source, tmp_path / out)
        build(tmp_path / out, workers=0)
    assert (
        digests(tmp_path / "a")["imagefolder-000000.tar"] == digests(tmp_path / "b")["imagefolder-000000.tar"]
    )


def test_one_split_in_an_archive_keeps_its_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "in", {"set/val/a": 1, "set/val/b": 1})
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "in")
    listing = folder(tmp_path / "set.zip", cache=tmp_path / "cache").listing()
    assert {i.split for i in listing.items} == {"val"} and listing.classes == ["a", "b"]


def test_eurosat_with_all_bands_keeps_them_and_their_place(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 10_000, (13, 64, 64), dtype=np.uint16)
    for name in CLASSES["eurosat"].split():
        path = tmp_path / "in" / name / f"{name}_1.tif"
        path.parent.mkdir(parents=True)
        options = {"crs": "EPSG:32633", "transform": from_origin(500_000, 5_200_000, 10, 10)}
        with rasterio.open(path, "w", "GTiff", 64, 64, 13, dtype="uint16", **options) as file:
            file.write(stored)
    path.write_bytes(path.read_bytes()[:60_000])
    (tmp_path / "in" / "River" / "River_1.tif").write_bytes(b"II*")
    make_plan(folder(tmp_path / "in", preset="eurosat-ms"), tmp_path / "out")
    report = build(tmp_path / "out", workers=0)
    assert report.finished and report.samples == 8 and report.failures == 2, (
        "River is no TIFF, SeaLake is cut"
    )
    assert not verify(tmp_path / "out").damages
    index = Index.open(tmp_path / "out")
    pixels = decode_raster(index.read(0))
    names = [band.name for band in index.info.bands]
    assert np.array_equal(pixels[names.index("B8A")], stored[12]), "the last of the file"
    assert np.array_equal(pixels[names.index("B12")], stored[11]) and index.info.rgb == ("B4", "B3", "B2")
    assert index.column("lon")[0] == pytest.approx(15.0042, abs=1e-4), (
        "the middle, 320 m east of the meridian"
    )
    with pytest.raises(ConfigError, match="keeps its pixels"):
        folder(tmp_path / "in", preset="eurosat-ms", size=32)


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
