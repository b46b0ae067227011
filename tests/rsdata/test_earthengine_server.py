"""The local Earth Engine, driven by the real client over HTTP."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ee
import numpy as np
import pytest
import rasterio
import requests
from earthengine_client import ROME, S2, connect, connected, grid, june

from rsdata.sandbox.scenes import pixels, scene_by_id


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with connected() as base:
        yield base


@pytest.fixture
def server(url: str) -> str:
    connect(url)
    return url


def compute(image: Any, where: dict[str, Any], file_format: str = "NPY") -> Any:
    data = ee.data.computePixels({"expression": image, "fileFormat": file_format, "grid": where})
    return np.load(io.BytesIO(data)) if file_format == "NPY" else data


def test_the_listing_of_the_original_downloader(server: str) -> None:
    point = ee.Geometry.Point(ROME)
    listed = (
        ee.ImageCollection("COPERNICUS/S2_SR")
        .filter(ee.Filter.lt("CLOUDY_PIXEL_PERCENTAGE", 10))
        .map(
            lambda image: image.updateMask(
                image.select("QA60").bitwiseAnd(1 << 10).eq(0).bitwiseAnd(1 << 11).eq(0)
            )
        )
        .filterDate("2020-06-01", "2020-06-16")
        .filterBounds(point)
    )
    size = listed.size().getInfo()
    ids = listed.aggregate_array("system:index").getInfo()
    clouds = listed.aggregate_array("CLOUDY_PIXEL_PERCENTAGE").getInfo()
    assert size == len(ids) > 0
    assert all(cloud < 10 for cloud in clouds)
    newest = ee.Image(listed.sort("system:time_start", False).first())
    assert newest.get("system:index").getInfo() == max(ids, key=lambda id: scene_by_id("s2-l2a", id).time)
    names = newest.propertyNames().getInfo()
    facts = ee.Dictionary({name: newest.get(name) for name in names if name != "system:bands"}).getInfo()
    assert facts["MGRS_TILE"] in ("32TQM", "33TTG")
    assert facts["system:footprint"]["type"] == "LinearRing"
    assert june(-30, -40).size().getInfo() == 0
    assert june(-30, -40).first().getInfo() is None
    assert june(year=2012).size().getInfo() == 0


def test_one_request_lists_all_seasons(server: str) -> None:
    requests.post(f"{server}/_sandbox/reset", timeout=5)
    windows = [("2020-06-01", "2020-06-16"), ("2020-03-01", "2020-03-16"), ("2019-12-01", "2019-12-16")]
    properties = ["system:index", "system:time_start", "CLOUDY_PIXEL_PERCENTAGE"]

    def season(start: str, end: str) -> Any:
        found = (
            ee.ImageCollection(S2)
            .filterBounds(ee.Geometry.Point(ROME))
            .filterDate(start, end)
            .filter(ee.Filter.lte("CLOUDY_PIXEL_PERCENTAGE", 90))
            .limit(4, "CLOUDY_PIXEL_PERCENTAGE")
        )
        return found.reduceColumns(ee.Reducer.toList(3), properties).get("list")

    rows = ee.List([season(*window) for window in windows]).getInfo()
    assert [len(part) for part in rows] == [4, 4, 4]
    assert all(cloud <= 90 for part in rows for _, _, cloud in part)
    assert all([row[2] for row in part] == sorted(row[2] for row in part) for part in rows)
    columns = june().reduceColumns(ee.Reducer.toList().repeat(2), properties[:2]).get("list").getInfo()
    assert len(columns) == 2
    assert len(columns[0]) == june().size().getInfo()
    described = june().limit(2).getInfo()
    assert described["type"] == "ImageCollection"
    assert [band["crs_transform"][0] for band in described["features"][0]["bands"][:2]] == [60, 10]
    stats = requests.get(f"{server}/_sandbox/stats", timeout=5).json()
    assert stats["by_path"]["value:compute"] == 4


def test_pixels_are_the_cells_of_the_scene_bit_for_bit(server: str) -> None:
    image = ee.Image(june().first())
    facts = image.getInfo()
    scene = scene_by_id("s2-l2a", facts["id"].rpartition("/")[2])
    assert scene is not None
    for name, side in (("B2", 264), ("B5", 132), ("B1", 44)):
        band = next(each for each in facts["bands"] if each["id"] == name)
        step = round(60 // band["crs_transform"][0])
        where = grid(band["crs_transform"], 500 * step, 400 * step, side, band["crs"])
        got = compute(image.select([name]), where)
        affine = where["affineTransform"]
        transform = (affine["scaleX"], 0, affine["translateX"], 0, affine["scaleY"], affine["translateY"])
        truth, valid = pixels(scene, name, transform, side, side)
        assert got.dtype == [(name, "<u2")]
        assert valid.all()
        np.testing.assert_array_equal(got[name], truth)
    all_bands = ["B1", "B2", "B5"]
    ten = grid(facts["bands"][1]["crs_transform"], 3000, 2400, 264, facts["bands"][1]["crs"])
    one = compute(image.select(all_bands), ten)
    np.testing.assert_array_equal(one["B1"][::6, ::6].repeat(6, 0).repeat(6, 1), one["B1"])
    data = compute(image.select(["B4", "B3"]), ten, "GEO_TIFF")
    with rasterio.MemoryFile(data) as memory, memory.open() as raster:
        assert raster.crs.to_epsg() == scene.epsg
        assert raster.transform[2] == ten["affineTransform"]["translateX"]
        np.testing.assert_array_equal(raster.read(1), compute(image.select(["B4"]), ten)["B4"])
    stored = ee.data.getPixels({"assetId": facts["id"], "fileFormat": "NPY", "bandIds": ["B4"], "grid": ten})
    np.testing.assert_array_equal(np.load(io.BytesIO(stored))["B4"], compute(image.select(["B4"]), ten)["B4"])


@pytest.mark.parametrize(
    ("lon", "lat", "zones"),
    [(12.0005, 41.9, {32632, 32633}), (-179.9, -16.85, {32701, 32760}), (151.2, -33.86, {32756})],
)
def test_zones_hemispheres_and_the_antimeridian(server: str, lon: float, lat: float, zones: set[int]) -> None:
    found = {image["bands"][1]["crs"] for image in june(lon, lat).getInfo()["features"]}
    assert found >= {f"EPSG:{zone}" for zone in zones}
    box = ee.Geometry.Point([lon, lat]).buffer(1325).bounds()
    shapes = june(lon, lat).map(
        lambda image: image.set("area", image.geometry().intersection(box, 1).area(1))
    )
    assert max(shapes.aggregate_array("area").getInfo()) == pytest.approx(2650**2, rel=0.02)


def test_sample_rectangle_as_the_original_asks_it(server: str) -> None:
    image = ee.Image(june().first())
    box = ee.Geometry.Point(ROME).buffer(1325).bounds()
    feature = image.divide(10000).select(["B1", "B2", "B5"]).sampleRectangle(box).getInfo()
    got = {name: np.array(feature["properties"][name]) for name in ("B1", "B2", "B5")}
    assert 264 <= min(got["B2"].shape) <= max(got["B2"].shape) <= 281
    assert 132 <= min(got["B5"].shape) <= max(got["B5"].shape) <= 142
    assert 44 <= min(got["B1"].shape) <= max(got["B1"].shape) <= 48
    assert 0 < got["B2"].mean() < 1
    masked = image.select("B2").updateMask(ee.Image.constant(0))
    with pytest.raises(ee.EEException, match=r"masked pixels.*no default value"):
        masked.sampleRectangle(box).getInfo()
    filled = masked.sampleRectangle(box, defaultValue=7).getInfo()
    assert set(np.array(filled["properties"]["B2"]).ravel()) == {7}
    with pytest.raises(ee.EEException, match="Too many pixels"):
        image.select("B2").sampleRectangle(ee.Geometry.Point(ROME).buffer(6000).bounds()).getInfo()


@pytest.mark.parametrize(
    ("lon", "lat", "zone", "rows", "columns"),
    [(-75.0, -1.0, 32718, 264, 266), (29.9, 40.0, 32635, 274, 275)],
)
def test_sizes_of_samples_are_those_recorded(
    server: str, lon: float, lat: float, zone: int, rows: int, columns: int
) -> None:
    features = june(lon, lat).getInfo()["features"]
    image = next(each for each in features if each["bands"][1]["crs"] == f"EPSG:{zone}")
    box = ee.Geometry.Point([lon, lat]).buffer(1325).bounds()
    found = ee.Image(image["id"]).select("B2").unmask(0, False).sampleRectangle(box).getInfo()
    got = np.array(found["properties"]["B2"]).shape
    assert abs(got[0] - rows) <= 2
    assert abs(got[1] - columns) <= 2


def test_the_offset_of_2022_and_its_harmonisation(server: str) -> None:
    for year, expected in ((2020, 0), (2022, 1000)):
        raw = ee.Image(june(collection="COPERNICUS/S2", year=year).first())
        fixed = ee.Image(june(collection="COPERNICUS/S2_HARMONIZED", year=year).first())
        band = fixed.getInfo()["bands"][1]
        where = grid(band["crs_transform"], 3000, 2400, 16, band["crs"])
        low, high = compute(fixed.select("B2"), where)["B2"], compute(raw.select("B2"), where)["B2"]
        assert set((high.astype(int) - low).ravel()) == {expected}


def test_seasons_of_ssl4eo_radar_and_linked_cloud_probability(server: str) -> None:
    either = ee.Filter.Or(
        ee.Filter.date("2020-06-01", "2020-06-16"), ee.Filter.date("2019-06-01", "2019-06-16")
    )
    radar = (
        ee.ImageCollection("COPERNICUS/S1_GRD")
        .filterBounds(ee.Geometry.Point(ROME))
        .filter(either)
        .filter(ee.Filter.listContains("transmitterReceiverPolarisation", "VV"))
        .filter(ee.Filter.listContains("transmitterReceiverPolarisation", "VH"))
        .filter(ee.Filter.eq("instrumentMode", "IW"))
    )
    assert {id[17:21] for id in radar.aggregate_array("system:index").getInfo()} == {"2019", "2020"}
    assert ee.Image(radar.first()).bandNames().getInfo() == ["VV", "VH"]
    clear = ee.ImageCollection("COPERNICUS/S2_CLOUD_PROBABILITY")
    image = ee.Image(june(collection="COPERNICUS/S2_HARMONIZED").first())
    linked = image.linkCollection(clear, ["probability"])
    assert linked.bandNames().getInfo()[-1] == "probability"
    box = ee.Geometry.Point(ROME).buffer(1000)
    cloudy = linked.select("probability").gt(50).reduceRegion(ee.Reducer.mean(), box, 60).getInfo()
    assert 0 <= cloudy["probability"] <= 1
    joined = ee.Join.saveFirst("match").apply(
        june(),
        june(collection="COPERNICUS/S2_CLOUD_PROBABILITY"),
        ee.Filter.equals(leftField="system:index", rightField="system:index"),
    )
    assert ee.Image(ee.Image(joined.first()).get("match")).bandNames().getInfo() == ["probability"]


def test_downloads_and_thumbnails(server: str) -> None:
    image = ee.Image(june().first())
    box = ee.Geometry.Point(ROME).buffer(1325).bounds()
    archive = requests.get(image.select("B4", "B5").getDownloadURL({"region": box}), timeout=30).content
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        names = files.namelist()
        with rasterio.MemoryFile(files.read(names[1])) as memory, memory.open() as raster:
            assert raster.res == (20, 20)
    assert [name.rsplit(".", 2)[1] for name in names] == ["B4", "B5"]
    link = image.select("B4", "B3", "B2").getThumbURL(
        {"min": 0, "max": 3000, "dimensions": 64, "region": box}
    )
    picture = requests.get(link, timeout=30)
    assert picture.headers["content-type"] == "image/png"


def test_what_the_service_refuses_is_400_with_its_reason(server: str) -> None:
    image = ee.Image(june().first())
    with pytest.raises(ee.EEException, match=r"Unknown function 'Image.resample'"):
        image.resample("bilinear").getInfo()
    with pytest.raises(ee.EEException, match="Band pattern 'B77' did not match any bands"):
        image.select("B77").getInfo()
    with pytest.raises(ee.EEException, match="'COPERNICUS/S9' not found"):
        ee.ImageCollection("COPERNICUS/S9").size().getInfo()
    with pytest.raises(ee.EEException, match=r"must be less than or equal to 50331648 bytes"):
        band = image.getInfo()["bands"][1]
        compute(image, grid(band["crs_transform"], 0, 0, 2000, band["crs"]))
    with pytest.raises(ee.EEException, match="affine transform"):
        where = grid([0, 0, 0, 0, 0, 0], 0, 0, 8, "EPSG:32633")
        compute(image.select("B2"), where)


@pytest.mark.parametrize(
    "expression",
    [
        None,
        [],
        {"result": "0"},
        {"result": "9", "values": {}},
        {"result": "0", "values": {"0": {"valueReference": "0"}}},
        {"result": "0", "values": {"0": {"argumentReference": "x"}}},
        {"result": "0", "values": {"0": {"newNode": 1}}},
        {"result": "0", "values": {"0": {"functionInvocationValue": {"functionName": "Image.load"}}}},
        {
            "result": "0",
            "values": {
                "0": {
                    "functionInvocationValue": {
                        "functionName": "Number.add",
                        "arguments": {"left": {"constantValue": "a"}, "right": {"constantValue": 1}},
                    }
                }
            },
        },
        {
            "result": "0",
            "values": {
                "0": {
                    "functionInvocationValue": {
                        "functionName": "Image.load",
                        "arguments": {"id": {"constantValue": "x"}, "nonsense": {"constantValue": 1}},
                    }
                }
            },
        },
    ],
)
def test_bad_expressions_are_400(server: str, expression: Any) -> None:
    answer = requests.post(
        f"{server}/v1/projects/p/value:compute", json={"expression": expression}, timeout=10
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert requests.post(f"{server}/v1/projects/p/value:compute", data="{", timeout=10).status_code == 400
    assert requests.get(f"{server}/v1/projects/p/nothing", timeout=10).status_code == 404


def test_200_calls_from_32_threads(server: str) -> None:
    requests.post(f"{server}/_sandbox/reset", timeout=5)
    size = june().size().getInfo()
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda _: june().size().getInfo(), range(200)))
    assert found == [size] * 200
    stats = requests.get(f"{server}/_sandbox/stats", timeout=5).json()
    assert stats["by_path"] == {"value:compute": 201}
    assert 1 < stats["max_concurrent"] <= 32
