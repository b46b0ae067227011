"""Real files from outside the repository; each test skips with a reason where they are absent."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from rsdata.build import build
from rsdata.curate.configs import GeoclusterConfig
from rsdata.curate.geofiles import geocluster
from rsdata.fmow.metadata import parse
from rsdata.plan import make_plan
from rsdata.sources.imagefolder import ImageFolder
from shards.clusters import Clusters
from shards.codec import decode
from shards.index import Index
from shards.verify import verify


def test_aerial_scenes_become_shards_with_their_bytes(shared_data: Path, tmp_path: Path) -> None:
    """600 AID scenes: kept byte for byte, split per class, found whole, decodable from the tar."""
    with tarfile.open(shared_data / "aid-96.tar") as archive:
        members = [m for m in archive.getmembers() if m.isfile()][::17]
        archive.extractall(tmp_path / "aid", members, filter="data")
    make_plan(ImageFolder(root=tmp_path / "aid", preset="aid", test_fraction=1 / 3), tmp_path / "set")
    result = build(tmp_path / "set", workers=2)
    assert result.finished and not result.failures and result.views == len(members)
    assert not verify(tmp_path / "set").damages
    index = Index.open(tmp_path / "set")
    for row in range(0, len(index), 50):
        source = index.table["source"][row].as_py()
        assert index.read(row) == (tmp_path / "aid" / source).read_bytes()
        assert decode("jpg", index.read(row)).shape == (96, 96, 3)
    mean = np.array([band.mean for band in index.info.statistics])
    assert ((mean > 60) & (mean < 160)).all(), "daylight pictures of land, not garbage"


def test_a_published_fmow_json(shared_data: Path) -> None:
    """The one official example: a fountain in Switzerland."""
    facts = parse((shared_data / "fmow/fountain_514_1_rgb.json").read_bytes())
    lon, lat = facts.lon_lat()
    raw = json.loads((shared_data / "fmow/fountain_514_1_rgb.json").read_bytes())
    assert raw["country_code"] == "CHE"
    assert 5.9 < lon < 10.6 and 45.8 < lat < 47.9, "inside the bounding box of Switzerland, lon before lat"


def test_real_cities_cluster_across_the_antimeridian(shared_data: Path, tmp_path: Path) -> None:
    report = geocluster(
        shared_data / "worldcities.csv",
        tmp_path / "cities.csv",
        GeoclusterConfig(k=100, lon="lng", lat="lat"),
    )
    with (tmp_path / "cities.csv").open(encoding="utf-8") as file:
        labels = [int(row["cluster"]) for row in csv.DictReader(file)]
    assert sorted(set(labels)) == list(range(100))
    assert report.mean_km < 330, "scikit-learn's mean great-circle distance on these cities is 308 to 319 km"
    clusters = Clusters.load(tmp_path / "cities.json")
    fiji = clusters.assign([179.9, -179.9], [-17.0, -17.0])
    assert fiji[0] == fiji[1]


@pytest.mark.parametrize("pattern", ["s2-seasonal/**/B4.tif", "bigearthnet-tiny/s2-tiny/**/*_B02.tif"])
def test_sixteen_bit_bands_decode_exactly(shared_data: Path, pattern: str) -> None:
    """Sentinel-2 bands: the codec gives what rasterio gives."""
    import rasterio

    path = sorted(shared_data.glob(pattern))[0]
    with rasterio.open(path) as file:
        truth = file.read(1)
    assert (decode("tif", path.read_bytes()) == truth).all()
