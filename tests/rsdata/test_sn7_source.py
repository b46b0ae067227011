"""SpaceNet 7 from its tree and from its served archive to a verified set."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from rsdata.build import build, status
from rsdata.curate import sn7_pixels
from rsdata.plan import Plan, make_plan
from rsdata.sandbox.serve import sandbox
from rsdata.sandbox.sn7_tree import TEST, TRAIN, Sn7Facts, write_sn7_tree
from rsdata.sources.sn7 import SN7
from shards.codec import decode
from shards.dataset import read_info
from shards.errors import UserError
from shards.index import Index
from shards.verify import verify

AREAS = TRAIN[:4]  # two in the United States, two in India


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sn7Facts]:
    root = tmp_path_factory.mktemp("sn7") / "tree"
    return root, write_sn7_tree(root, train=AREAS, test=TEST[:1], detail=8)


def source(root: Path | str, **options: Any) -> SN7:
    return SN7.build(root=str(root), **({"samples_per_shard": 32} | options))


def raster(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        bands = file.read()
    out = np.zeros((1024, 1024, 4), np.uint8)
    out[: bands.shape[1], : bands.shape[2]] = bands.transpose(1, 2, 0)
    return out


def test_a_set_is_what_the_tree_holds(
    tree: tuple[Path, Sn7Facts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, facts = tree
    read: Counter[int] = Counter()
    genuine = sn7_pixels.read_picture

    def counted(data: bytes) -> sn7_pixels.Picture:
        read[hash(data)] += 1
        return genuine(data)

    monkeypatch.setattr(sn7_pixels, "read_picture", counted)
    plan = make_plan(source(root), tmp_path / "set")
    assert plan.info.splits() == {"train": 48, "val": 16, "test": 16}
    files = [path for path in root.rglob("*.tif") if "UDM" not in path.name]
    used = [p for p in files if p.parent.name == ("images" if "/train/" in str(p) else "images_masked")]
    assert plan.info.bytes == sum(path.stat().st_size for path in used), "each file is counted once"
    for k in range(len(plan.info.shards)):
        assert set(Counter(item.group for item in plan.items(k)).values()) == {16}

    done = build(tmp_path / "set", workers=0)
    assert verify(tmp_path / "set").ok
    assert len(read) == len(used) and set(read.values()) == {1}, "an image is read once for its 16 patches"
    assert done.samples == 80 and done.failed == {"invalid": 16}
    named = status(tmp_path / "set", listed=None).first_failures
    assert [row["item"] for row in named] == [f"{facts.broken}#p{k:02d}" for k in range(16)]
    assert all("not a whole GeoTIFF" in row["reason"] and "vsimem" not in row["reason"] for row in named)

    index = Index.open(tmp_path / "set")
    rows = index.table.to_pylist()
    masked = [row for row in rows if row["split"] == "test"]
    dropped = sum(path.startswith("test_public") for path in facts.black)
    assert dropped and len(masked) == 16 * 3 - dropped, "patch 0 is masked out there"
    assert read_info(tmp_path / "set").notes["patches left out: half black"] == dropped
    assert len(rows) == 16 * (12 - 1) + len(masked)
    for number, row in enumerate(rows):
        area, k = row["aoi"], row["patch"]
        assert row["key"] == f"{area}_p{k:02d}" and (row["row"], row["col"]) == divmod(k, 4)
        assert row["country"] == {AREAS[0]: "United States", AREAS[1]: "United States"}.get(
            area, "Egypt" if area == TEST[0] else "India"
        )
        top, left = 256 * (k // 4), 256 * (k % 4)
        if number % 7 == 0 or row["source"] == facts.short:
            expected = raster(root / row["source"])[top : top + 256, left : left + 256]
            np.testing.assert_array_equal(decode("png", index.read(number)), expected[..., :3])
            assert row["valid_fraction"] == pytest.approx((expected[..., 3] != 0).mean(), abs=1e-6)
            mask = root / row["source"].replace("/images/", "/UDM_masks/").replace(".tif", "_UDM.tif")
            if mask.exists() and row["split"] != "test":
                with rasterio.open(mask) as file:
                    cloudy = (file.read(1)[top : top + 256, left : left + 256] != 0).sum() / 256**2
                assert row["cloud_fraction"] == pytest.approx(cloudy)
            else:
                assert row["cloud_fraction"] == (None if row["split"] == "test" else 0.0)
        with rasterio.open(root / row["source"]) as file:
            x, y = file.transform @ (left + 128, top + 128)
            lon, lat = (values[0] for values in rasterio.warp.transform(file.crs, "EPSG:4326", [x], [y]))
        assert (row["lon"], row["lat"]) == pytest.approx((lon, lat))
        assert row["gsd_m"] == pytest.approx(4.777 * np.cos(np.radians(lat)), rel=0.01)
    short = [row for row in rows if row["source"] == facts.short and row["patch"] >= 12]
    assert [row["valid_fraction"] for row in short] == [255 / 256] * 4
    labels = {row["aoi"]: row["label"] for row in rows}
    assert labels[AREAS[0]] == labels[AREAS[1]] == 18 and labels[AREAS[2]] == labels[AREAS[3]] == 5
    assert labels[TEST[0]] == 27, "of Egypt, though no training area of this tree is there"


def test_a_killed_build_ends_with_the_same_bytes(tree: tuple[Path, Sn7Facts], tmp_path: Path) -> None:
    root, _ = tree
    for name in ("calm", "killed"):
        make_plan(source(root, split="patch", limit=60), tmp_path / name)
    build(tmp_path / "calm", workers=0)
    command = [sys.executable, "-m", "rsdata", "build", str(tmp_path / "killed"), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list((tmp_path / "killed" / "tasks").glob("*.json")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert not (tmp_path / "killed" / "dataset.json").exists()
    build(tmp_path / "killed", workers=0)
    calm, again = (read_info(tmp_path / name) for name in ("calm", "killed"))
    assert calm.fingerprint == again.fingerprint
    keys = set(Index.open(tmp_path / "calm").table["key"].to_pylist())
    torn = {key.removeprefix("train-") for key in keys} & {key.removeprefix("val-") for key in keys}
    assert torn, "a torn patch is a sample in each split"


def test_from_the_served_archive_in_bad_weather(tmp_path: Path) -> None:
    """The published key, unsigned, through refusals and cut connections: the set of the unpacked archive."""
    key = "spacenet-dataset/spacenet/SN7_buildings/tarballs/SN7_buildings_test_public.tar.gz"
    with sandbox(faults=["503=first:1", "cut=first:2"]) as url:
        served = source(f"s3://{key}", endpoint=f"{url}/s3", cache=tmp_path / "cache")
        make_plan(served, tmp_path / "served")
        assert build(tmp_path / "served", workers=0).failed == {}
    assert verify(tmp_path / "served").ok
    local = tmp_path / "local"
    write_sn7_tree(local, detail=8, train=())
    make_plan(source(local), tmp_path / "unpacked")
    build(tmp_path / "unpacked", workers=0)
    sets = [read_info(tmp_path / name) for name in ("served", "unpacked")]
    assert sets[0].shards == sets[1].shards and sets[0].shards


def test_a_limit_draws_whole_areas(tree: tuple[Path, Sn7Facts], tmp_path: Path) -> None:
    plan = make_plan(source(tree[0], limit=20, countries="any", val_fraction=0.5), tmp_path / "set")
    items = [item for k in range(len(plan.info.shards)) for item in Plan.open(tmp_path / "set").items(k)]
    counts = Counter(item.group for item in items)
    assert sum(counts.values()) == 20 and sorted(counts.values()) == [4, 16]


def test_the_release_is_checked_by_its_digest() -> None:
    name = "spacenet/SN7_buildings/tarballs/SN7_buildings_train.tar.gz"
    for root in (f"s3://spacenet-dataset/{name}", f"https://spacenet-dataset.s3.amazonaws.com/{name}"):
        assert SN7.build(root=root).checksum == "md5:6eda13b9c28f6f5cdf00a7e8e218c1b1"
    assert SN7.build(root=f"s3://spacenet-dataset/{name}", endpoint="http://localhost:1/s3").checksum is None


def test_what_is_no_tree_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither train/ nor test_public/"):
        source(tmp_path).listing()
    area = tmp_path / "train" / AREAS[0]
    (area / "labels").mkdir(parents=True)
    with pytest.raises(UserError, match="no area has images in images/"):
        source(tmp_path).listing()


def test_held_out_images_from_the_other_folder(tree: tuple[Path, Sn7Facts], tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree[0] / "train", root / "train")
    listing = source(root, val_images="images_masked").listing()
    for item in listing.items:
        folder = "images_masked" if item.split == "val" else "images"
        assert all(f"/{folder}/" in url for url in item.urls)
        assert len(json.loads(item.facts)["months"]) == len(item.urls) == 3
    gone = next(item.urls[0] for item in listing.items if item.split == "val")
    (root / gone).unlink()
    make_plan(source(root, val_images="images_masked"), tmp_path / "set")
    build(tmp_path / "set", workers=0)
    failed = status(tmp_path / "set", listed=None).first_failures
    assert {row["class"] for row in failed if gone in row["item"]} == {"gone"}
