"""The published SeCo layout, from a zip with its digest to seasons that training reads."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from rsdata.build import build
from rsdata.plan import make_plan
from rsdata.sandbox.archive_trees import zip_folder
from rsdata.sandbox.seco_tree import TOP, write_seco_tree
from rsdata.sources import source_of
from rsdata.sources.url import Url
from rstrain.data.pixels import Reader
from rstrain.data.reading import reading_of
from shards.errors import ConfigError, UserError
from shards.failures import from_table
from shards.index import Index
from shards.parquet import read
from shards.raster import decode_raster
from shards.store import Store
from shards.verify import verify

MEMBERS = {
    "b10.b2nd": ["B2", "B3", "B4", "B8"],
    "b20.b2nd": ["B5", "B6", "B7", "B8A", "B11", "B12"],
    "b60.b2nd": ["B1", "B9"],
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("seco")
    (root / TOP).mkdir()
    write_seco_tree(root / TOP, places=2, seasons=3)
    return root


def source(root: Path, **options: Any) -> Url:
    found = source_of({"kind": "url", "root": str(root), **options})
    assert isinstance(found, Url)
    return found


def test_a_zip_becomes_seasons_that_training_reads(tree: Path, tmp_path: Path) -> None:
    archive = tmp_path / "seco_100k.zip"
    zip_folder(tree, archive)
    digest = hashlib.md5(archive.read_bytes()).hexdigest()
    with pytest.raises(UserError, match="digest"):
        source(archive, checksum="md5:" + "0" * 32, cache=tmp_path / "cache").listing()
    make_plan(source(archive, checksum=f"md5:{digest}", cache=tmp_path / "cache"), tmp_path / "out")
    assert build(tmp_path / "out", workers=0).finished
    assert not verify(tmp_path / "out").damages
    index = Index.open(tmp_path / "out")
    _, count = index.places()
    assert index.info.samples == 2 and set(count.tolist()) == {3}, "previews beside the folders are no scenes"
    for row in range(len(index)):
        folder = tree / index.table["source"][row].as_py()
        stored = index.read_parts(row, MEMBERS)
        for member, bands in MEMBERS.items():
            pixels = decode_raster(stored[member])
            assert pixels.dtype == np.uint8
            for plane, band in zip(pixels, bands, strict=True):
                with rasterio.open(folder / f"{band}.tif") as file:
                    assert np.array_equal(plane, file.read(1)), "as GDAL decodes the JPEG"
        facts = json.loads((folder / "metadata.json").read_text())
        with rasterio.open(folder / "B2.tif") as file:
            west, south, east, north = file.bounds
        lon, lat, time, cloud = (
            index.table[name][row].as_py() for name in ("lon", "lat", "time", "cloud_percent")
        )
        assert lon == pytest.approx((west + east) / 2) and lat == pytest.approx((south + north) / 2)
        assert round(time.timestamp() * 1000) == facts["system:time_start"]
        assert cloud == facts["CLOUDY_PIXEL_PERCENTAGE"]
    rgb = Reader(index.read_as(reading_of(index.info, ("rgb",))))
    with rasterio.open(tree / index.table["source"][0].as_py() / "B4.tif") as file:
        assert np.array_equal(rgb.read(0)[..., 0], file.read(1)) and rgb.read(0).shape == (264, 264, 3)
    assert Reader(index).read(0).shape == (264, 264, 12)


def test_seasons_that_are_broken_are_lost_and_the_place_is_kept(tree: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "places"
    shutil.copytree(tree / TOP, root)
    first, second = sorted(root.iterdir())
    scenes = sorted(path for path in first.iterdir() if path.is_dir())
    (scenes[0] / "B8A.tif").unlink()
    (scenes[1] / "metadata.json").unlink()  # its name tells the time
    (scenes[2] / "metadata.json").write_text("{")
    for scene in second.iterdir():
        if scene.is_dir():
            (scene / "B2.tif").write_bytes((scene / "B5.tif").read_bytes())
    (root / "000009").mkdir()
    config = source(root)
    assert config.listing().notes == {"left out: places without scenes": 1}
    make_plan(config, tmp_path / "out")
    assert build(tmp_path / "out", workers=0).finished
    index = Index.open(tmp_path / "out")
    assert index.table["scene"].to_pylist() == [scenes[1].name] and index.info.notes == {
        "scenes without metadata.json": 1
    }
    lost = {
        failure.item: (str(failure.kind), failure.reason)
        for failure in from_table(read(Store(tmp_path / "out").read("failures.parquet")))
    }
    assert lost[f"000000/{scenes[0].name}"][0] == "gone"
    assert lost[f"000000/{scenes[2].name}"][0] == "invalid"
    assert lost["000001"][0] == "invalid" and "expected uint8 [264, 264]" in lost["000001"][1]


def test_presets_name_the_published_archives(tmp_path: Path) -> None:
    preset = source_of({"kind": "url", "preset": "seco-1m"})
    assert isinstance(preset, Url) and preset.set_name() == "seco-1m"
    assert preset.root == "https://zenodo.org/records/4728033/files/seco_1m.zip?download=1"
    assert preset.checksum == "md5:187963d852d4d3ce6637743ec3a4bd9e"
    local = source(tmp_path / "seco_100k.zip", preset="seco-100k")
    assert (
        local.root == str(tmp_path / "seco_100k.zip")
        and local.checksum == "md5:ebf2d5e03adc6e657f9a69a20ad863e0"
    )
    with pytest.raises(ConfigError, match="give --root, or --preset"):
        source_of({"kind": "url"})
    with pytest.raises(ConfigError, match=r"expected <place>/<scene>/B2\.tif"):
        source(tmp_path).listing()
