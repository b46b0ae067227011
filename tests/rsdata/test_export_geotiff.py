"""GeoTIFFs lie where the pixels were taken, with the names and wavelengths of their bands."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio

from builders import build_set, pattern
from multiband import COLUMNS, build_multiband, ground
from rsdata.inspect.export_geotiff import export_geotiff
from rsdata.inspect.preview import gather, preview
from rsdata.inspect.stats import stats
from rsdata.sensors import SENSORS
from shards.errors import UserError
from shards.index import Index

S2 = SENSORS["s2-l2a"]
LEFT, TOP = 399_960 + 60 * 700, 5_000_040 - 60 * 321


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("geotiff") / "set"
    places = [[ground(S2, 3 * place + view) for view in range(3)] for place in range(2)]
    build_multiband(folder, places, transform=f"10 0 {LEFT} 0 -10 {TOP}", crs="EPSG:32721")
    return folder


def test_every_resolution_lies_where_it_was_taken(made: Path, tmp_path: Path) -> None:
    report = export_geotiff(made, tmp_path / "out")
    assert report.files == 2 * 3 * 3
    with (tmp_path / "out" / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows[:3]] == [f"train/000000.000.b{gsd}.tif" for gsd in (10, 20, 60)]
    assert rows[1]["bands"] == "B5 B6 B7 B8A B11 B12" and float(rows[2]["gsd_m"]) == 60
    to_lonlat = pyproj.Transformer.from_crs("EPSG:32721", "OGC:CRS84", always_xy=True)
    point = (LEFT + 1234.5, TOP - 777.7)  # of the ground, in metres
    for gsd, side in ((10, 264), (20, 132), (60, 44)):
        with rasterio.open(tmp_path / "out" / f"train/000001.002.b{gsd}.tif") as file:
            assert file.crs.to_epsg() == 32721 and file.shape == (side, side)
            assert (file.bounds.left, file.bounds.top) == (LEFT, TOP)
            assert (file.bounds.right, file.bounds.bottom) == (LEFT + 2640, TOP - 2640)
            col, row = ~file.transform @ point
            assert (col, row) == pytest.approx((1234.5 / gsd, 777.7 / gsd), abs=1e-6)
            there = to_lonlat.transform(*(file.transform @ (col, row)))
            assert np.allclose(there, to_lonlat.transform(*point), atol=1e-9)
            assert np.array_equal(file.read(), ground(S2, 5)[gsd])
            bands = S2.bands_at(gsd)
            assert file.descriptions == tuple(f"{band.name} {band.wavelength_nm:g} nm" for band in bands)
            assert file.tags(1)["unit"] == "reflectance x 10000"
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.profile["tiled"]
            assert file.tags()["TIFFTAG_IMAGEDESCRIPTION"] == "scene-1-2"
    code = "import rasterio, sys; print(rasterio.open(sys.argv[1]).tags(1, ns='IMAGERY'))"
    path = tmp_path / "out" / "train/000000.000.b10.tif"
    said = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert "0.4924" in said.stdout


def test_the_command(made: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rsdata", "export", str(made), str(tmp_path / "out"), "--to", "geotiff"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == 18
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1 and "is there already and not empty" in again.stderr
    assert not list(tmp_path.glob(".*.part"))


def test_views_without_a_grid_are_refused_and_leave_nothing(made: Path, tmp_path: Path) -> None:
    build_set(tmp_path / "plain", [pattern(0)])
    with pytest.raises(UserError, match=r"has no column 'crs'.*use --to folder"):
        export_geotiff(tmp_path / "plain", tmp_path / "out")
    assert set(COLUMNS) <= set(Index.open(made).table.column_names)
    build_multiband(tmp_path / "half", [[ground(S2, 0)]], transform="10 0 x")
    with pytest.raises(UserError, match="sample 000000 has crs 'EPSG:32633' and transform '10 0 x'"):
        export_geotiff(tmp_path / "half", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*.part"))


def test_statistics_and_preview_of_many_bands(made: Path, tmp_path: Path) -> None:
    report = stats(made)
    assert report.same and [band.name for band in report.bands][:5] == ["B2", "B3", "B4", "B8", "B5"]
    assert [band.pixels for band in report.bands][3:5] == [6 * 264**2, 6 * 132**2]
    stored = np.stack([ground(S2, seed)[20] for seed in range(6)]).astype(float)
    assert report.bands[4].mean == pytest.approx(stored[:, 0].mean(), rel=1e-12)
    assert "B12" in report.summary()
    view = gather(Index.open(made), places=5, seed=0)
    assert view.seasons and [len(card.thumbs) for card in view.cards] == [3, 3]
    assert [thumb.caption for thumb in view.cards[0].thumbs] == ["2020-01-05", "2020-04-05", "2020-07-05"]
    assert all(thumb.jpeg for card in view.cards for thumb in card.thumbs)
    assert preview(made, tmp_path / "page.html") > 10_000
    text = (tmp_path / "page.html").read_text()
    assert 'class="sheet rows"' in text and "B4 · 665 nm" in text
