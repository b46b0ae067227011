"""Pairs of dates with masks: OSCD in tiles, LEVIR-CD whole; cities and scenes stay in one split."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sandbox.oscd_tree import write_levir_tree, write_oscd_tree
from rsdata.sources import source_of
from shards.codec import encode_png
from shards.errors import ConfigError
from shards.failures import Failure, from_table
from shards.index import Index
from shards.parquet import read
from shards.raster import decode_raster
from shards.store import Store
from shards.targets import IGNORE, decode_mask, sample_members
from shards.verify import verify

BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12"]
SIDE = 64


@pytest.fixture(scope="module")
def oscd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("oscd")
    write_oscd_tree(root, train=1, test=1, side_px=100)
    return root


@pytest.fixture(scope="module")
def levir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("levir")
    write_levir_tree(root, scenes=4, side_px=96)
    return root


def made(root: Path, out: Path, kind: str, **options: Any) -> Index:
    make_plan(source_of({"kind": kind, "root": str(root), **options}), out)
    assert build(out, workers=0).finished
    assert not verify(out).damages
    return Index.open(out)


def failures(out: Path) -> dict[str, Failure]:
    return {failure.item: failure for failure in from_table(read(Store(out).read("failures.parquet")))}


def city_truth(root: Path, city: str) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """Both dates [13, H, W], and the mask of the TIFF."""
    dates = []
    for name in ("imgs_1_rect", "imgs_2_rect"):
        folder = next(root.glob(f"*/{city}/{name}"))
        planes = []
        for band in BANDS:
            with rasterio.open(folder / f"{band}.tif") as file:
                planes.append(file.read(1))
        dates.append(np.stack(planes))
    with rasterio.open(next(root.glob(f"*/{city}/cm/{city}-cm.tif"))) as file:
        return dates, file.read(1) == 2


@pytest.mark.parametrize("borders", ["pad", "ignore", "drop"])
def test_tiles_put_together_are_the_city(oscd: Path, tmp_path: Path, borders: str) -> None:
    index = made(oscd, tmp_path / "out", "oscd", tile=SIDE, borders=borders)
    assert index.info.targets[0].classes == ["no change", "change"]
    assert [band.name for band in index.info.bands][-5:] == ["B8A", "B9", "B10", "B11", "B12"]
    cities = set(zip(index.table["city"].to_pylist(), index.table["split"].to_pylist(), strict=True))
    assert cities == {("aguasclaras", "train"), ("brasilia", "test")}
    first, count = index.places()
    assert set(count.tolist()) == {2}
    for city in ("aguasclaras", "brasilia"):
        dates, mask = city_truth(oscd, city)
        assert mask.any() and not mask.all()
        height, width = mask.shape
        seen = np.zeros(mask.shape, int)
        for row in sorted(set(first.tolist())):
            if index.table["city"][row].as_py() != city:
                continue
            top, left = (int(n) for n in index.table["tile"][row].as_py().split())
            bottom, right = min(top + SIDE, height), min(left + SIDE, width)
            tall, wide = bottom - top, right - left
            members = sample_members(index, row)
            target = decode_mask(members["mask.png"])
            assert np.array_equal(target[:tall, :wide], mask[top:bottom, left:right])
            outside = target.copy()
            outside[:tall, :wide] = 0 if borders == "pad" else IGNORE
            assert (outside == (0 if borders == "pad" else IGNORE)).all()
            for number, date in enumerate(dates):
                pixels = decode_raster(members[f"{number:03d}.b10.b2nd"])
                assert pixels.shape == (13, SIDE, SIDE)
                assert np.array_equal(pixels[:, :tall, :wide], date[:, top:bottom, left:right])
                assert not pixels[:, tall:].any() and not pixels[:, :, wide:].any()
            times = [index.table["time"][row + n].as_py() for n in (0, 1)]
            assert times[0].year < times[1].year
            seen[top:bottom, left:right] += 1
        whole = seen[: height // SIDE * SIDE, : width // SIDE * SIDE]
        assert (whole == 1).all() and seen.sum() == (whole.size if borders == "drop" else seen.size)


def test_whole_cities_and_what_is_broken(oscd: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    shutil.copytree(oscd, root)
    next(root.glob("*/aguasclaras/imgs_2_rect/B10.tif")).unlink()
    next(root.glob("*/brasilia/cm/cm.png")).unlink()  # the TIFF holds the same
    index = made(root, tmp_path / "out", "oscd", tile=0)
    assert index.keys([0]) == ["brasilia"] and len(index) == 2
    assert np.array_equal(
        decode_mask(sample_members(index, 0)["mask.png"]), city_truth(root, "brasilia")[1].astype(np.uint8)
    )
    lost = failures(tmp_path / "out")["aguasclaras"]
    assert str(lost.kind) == "gone" and "B10.tif" in lost.reason
    for path in root.glob("*/*/cm"):
        shutil.rmtree(path)
    with pytest.raises(ConfigError, match="no city has a folder cm"):
        source_of({"kind": "oscd", "root": str(root)}).listing()
    with pytest.raises(ConfigError, match="has no <city>/imgs_1_rect"):
        source_of({"kind": "oscd", "root": str(tmp_path / "out")}).listing()


def test_pairs_keep_their_bytes_and_bad_ones_are_listed(levir: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    shutil.copytree(levir, root)
    for number, name in enumerate(("no_label", "other_size", "grey_levels", "only_b")):
        for part in ("A", "B", "label"):
            shutil.copy(levir / part / "train_1_0000_0000.png", root / part / f"train_9{number}_{name}.png")
    (root / "label" / "train_90_no_label.png").unlink()
    (root / "B" / "train_91_other_size.png").write_bytes(encode_png(np.zeros((96, 95, 3), np.uint8)))
    (root / "label" / "train_92_grey_levels.png").write_bytes(encode_png(np.full((96, 96), 128, np.uint8)))
    (root / "A" / "train_93_only_b.png").unlink()
    index = made(root, tmp_path / "out", "change", gsd_m=0.5)
    assert index.info.splits == {"train": 4, "val": 2, "test": 2} and set(index.column("gsd_m")) == {0.5}
    for row in range(0, len(index), 2):
        name = index.table["source"][row].as_py().removeprefix("A/")
        members = sample_members(index, row)
        assert members["000.png"] == (root / "A" / name).read_bytes()
        assert members["001.png"] == (root / "B" / name).read_bytes()
        mask = decode_mask(members["mask.png"])
        label = decode_mask((root / "label" / name).read_bytes())
        assert np.array_equal(mask * 255, label) and 0 < mask.mean() < 0.5
    reasons = {
        name.split("_", 2)[2][:-4]: (str(f.kind), f.reason) for name, f in failures(tmp_path / "out").items()
    }
    assert reasons["no_label"][0] == "gone" and reasons["only_b"][0] == "gone"
    assert reasons["other_size"][0] == "invalid" and "B (96, 95)" in reasons["other_size"][1]
    assert reasons["grey_levels"][0] == "invalid" and "[128]" in reasons["grey_levels"][1]


def test_a_scene_lies_in_one_split(levir: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        shutil.copytree(levir, tmp_path / split)
    listing = source_of({"kind": "change", "root": str(tmp_path)}).listing()
    assert {(i.id.split("/")[0], i.split) for i in listing.items} == {("train", "train"), ("test", "test")}
    (tmp_path / "test").rename(tmp_path / "notes")
    with pytest.raises(ConfigError, match="is named as no split"):
        source_of({"kind": "change", "root": str(tmp_path)}).listing()
    with pytest.raises(ConfigError, match="has no folder A"):
        source_of({"kind": "change", "root": str(tmp_path / "train" / "A")}).listing()
