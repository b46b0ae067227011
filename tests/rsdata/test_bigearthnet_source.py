"""BigEarthNet: a small archive of the planet through listing, build and verify; what is broken fails in sight."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.warp
from image_trees import digests

from rsdata.build import build
from rsdata.curate.bigearthnet_files import parse
from rsdata.curate.bigearthnet_labels import CLASSES_19, CLASSES_43, numbers_19, numbers_43
from rsdata.plan import make_plan
from rsdata.sandbox.bigearthnet_tree import S1, S2, write_bigearthnet_tree
from rsdata.sources import source_of
from rsdata.sources.bigearthnet import BigEarthNet
from shards.codec import decode
from shards.errors import ConfigError
from shards.failures import from_table
from shards.index import Index
from shards.parquet import read
from shards.raster import decode_raster
from shards.store import Store
from shards.targets import sample_members
from shards.verify import verify

GROUPS = {
    "b10.b2nd": ["B02", "B03", "B04", "B08"],
    "b20.b2nd": ["B05", "B06", "B07", "B8A", "B11", "B12"],
    "b60.b2nd": ["B01", "B09"],
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bigearthnet")
    write_bigearthnet_tree(root, places=4, seed=3)
    return root


def source(archive: Path, **options: Any) -> BigEarthNet:
    lists = tuple(archive / f"{split}.csv" for split in ("train", "val", "test"))
    found = source_of({"kind": "bigearthnet", "root": str(archive), "split_file": lists, **options})
    assert isinstance(found, BigEarthNet)
    return found


def made(config: BigEarthNet, out: Path) -> Index:
    make_plan(config, out)
    assert build(out, workers=0).finished
    assert not verify(out).damages
    return Index.open(out)


def truth(archive: Path, folder: str) -> dict[str, Any]:
    path = next((archive / folder).glob("*_labels_metadata.json"))
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


@pytest.mark.parametrize(("labels", "classes"), [("19", CLASSES_19), ("43", CLASSES_43)])
def test_optical_patches_keep_pixels_labels_and_place(
    archive: Path, tmp_path: Path, labels: str, classes: tuple[str, ...]
) -> None:
    index = made(source(archive, labels=labels), tmp_path / "out")
    info = index.info
    assert info.targets[0].member == "labels.npy" and info.targets[0].classes == list(classes)
    assert info.splits == {"train": 1, "val": 1, "test": 1}, "the fourth patch is in no list"
    assert [len(m.bands) for m in info.members] == [4, 6, 2] and info.rgb == ("B4", "B3", "B2")
    numbers = numbers_19 if labels == "19" else numbers_43
    for row in range(len(index)):
        folder = index.table["source"][row].as_py()
        facts = truth(archive, folder)
        expected = numbers(facts["labels"])
        members = sample_members(index, row)
        assert np.flatnonzero(decode("labels.npy", members["labels.npy"])).tolist() == expected
        assert index.table["labels"][row].as_py() == expected
        for member, bands in GROUPS.items():
            stored = decode_raster(members[member])
            for place, band in enumerate(bands):
                with rasterio.open(archive / folder / f"{Path(folder).name}_{band}.tif") as file:
                    assert np.array_equal(stored[place], file.read(1))
        with rasterio.open(archive / folder / f"{Path(folder).name}_B02.tif") as file:
            lon, lat = (index.table[name][row].as_py() for name in ("lon", "lat"))
            (x,), (y,) = rasterio.warp.transform("EPSG:4326", file.crs, [lon], [lat])
            middle = file.xy(59.5, 59.5)
            assert abs(x - middle[0]) < 0.01 and abs(y - middle[1]) < 0.01
            assert index.table["crs"][row].as_py() == str(file.crs)


def test_radar_patches_follow_the_lists_of_their_optical_twins(archive: Path, tmp_path: Path) -> None:
    """The official rows are `S2,S1`; the lists of SeCo name Sentinel-2 alone."""
    for split in ("train", "val"):
        rows = (archive / f"{split}.csv").read_text().splitlines()
        (tmp_path / f"{split}.txt").write_text("\n".join(row.split(",")[0] for row in rows))
    by_twin = source(archive, sensor="s1", split_file=(tmp_path / "train.txt", tmp_path / "val.txt"))
    index = made(by_twin, tmp_path / "out")
    assert index.info.splits == {"train": 1, "val": 1}
    assert [m.dtype for m in index.info.members] == ["float32"]
    optical = {item.id: item for item in source(archive).listing().items}
    for row in range(len(index)):
        twin = optical[index.table["s2_patch"][row].as_py()]
        assert index.table["split"][row].as_py() == twin.split
        assert index.table["lon"][row].as_py() == pytest.approx(twin.lon)


def test_lists_leave_out_and_say_how_many(archive: Path, tmp_path: Path) -> None:
    snow = archive / "patches_with_seasonal_snow.csv"
    listing = source(archive, split_file=(), exclude=(snow,)).listing()
    assert len(listing.items) == 3 and {item.split for item in listing.items} == {"train"}
    assert listing.notes == {"left out: in a list of --exclude": 1}
    both = tmp_path / "train.csv"
    both.write_text((archive / "val.csv").read_text())
    with pytest.raises(ConfigError, match="is in the list of"):
        source(archive, split_file=(both, archive / "val.csv")).listing()
    with pytest.raises(ConfigError, match="must tell its split"):
        source(archive, split_file=(snow,)).listing()
    with pytest.raises(ConfigError, match=r"holds no folder of a patch .* --sensor s1 right"):
        source(archive, root=str(archive / S2), sensor="s1").listing()


def test_what_is_broken_fails_with_its_class(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    shutil.copytree(archive / S2, root)
    names = sorted(path.name for path in root.iterdir())
    (root / names[0] / f"{names[0]}_labels_metadata.json").unlink()
    band = root / names[1] / f"{names[1]}_B05.tif"
    band.write_bytes(band.read_bytes()[:3000])
    (root / names[2] / f"{names[2]}_B8A.tif").unlink()
    shutil.copy(root / names[3] / f"{names[3]}_B02.tif", root / names[3] / f"{names[3]}_B01.tif")
    extra = root / "S2A_MSIL2A_20170613T101031_9_9"
    shutil.copytree(archive / S2 / names[0], extra)
    for file in extra.iterdir():
        file.rename(file.with_name(file.name.replace(names[0], extra.name)))
    make_plan(source(archive, root=str(root), split_file=()), tmp_path / "out")
    assert build(tmp_path / "out", workers=0).finished
    rows = from_table(read(Store(tmp_path / "out").read("failures.parquet")))
    reasons = {failure.item: (str(failure.kind), failure.reason) for failure in rows}
    assert set(reasons) == set(names)
    assert reasons[names[0]][0] == "invalid" and "no such file, so nobody knows" in reasons[names[0]][1]
    assert reasons[names[1]][0] == "invalid" and "B05.tif: does not decode" in reasons[names[1]][1]
    assert reasons[names[2]][0] == "gone" and "B8A.tif" in reasons[names[2]][1]
    assert reasons[names[3]][0] == "invalid" and "expected uint16 [20, 20]" in reasons[names[3]][1]
    assert Index.open(tmp_path / "out").keys([0]) == [extra.name]


def test_an_archive_file_gives_the_bytes_of_its_folder(archive: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "s1"), "zip", archive, S1)
    cache = tmp_path / "cache"
    made(source(archive, root=str(tmp_path / "s1.zip"), sensor="s1", cache=cache), tmp_path / "a")
    made(source(archive, sensor="s1", root=str(archive / S1)), tmp_path / "b")
    same = {name for name in digests(tmp_path / "a") if name.endswith(".tar")}
    assert same and all(digests(tmp_path / "a")[n] == digests(tmp_path / "b")[n] for n in same)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["Moon base"]}, "'Moon base' is none of the 43 classes"),
        ({"coordinates": {"ulx": 0, "uly": 1200, "lrx": 1300, "lry": 0}}, "do not span 1200 m"),
        ({"projection": "PROJCS[]"}, "has no EPSG code"),
        ({"acquisition_date": None}, "neither acquisition_date nor"),
        ({"labels": "Pastures"}, "labels"),
    ],
)
def test_metadata_that_is_of_no_use_is_named(archive: Path, change: dict[str, Any], message: str) -> None:
    facts = truth(archive, f"{S2}/{sorted(p.name for p in (archive / S2).iterdir())[0]}")
    assert parse(json.dumps(facts).encode()).labels
    with pytest.raises(ValueError, match=message):
        parse(json.dumps(facts | change).encode())
