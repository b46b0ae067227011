"""Places through a STAC API: the same sample as through Earth Engine, checked at a real server with the real clients."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from pystac_client import Client as Api

from rsdata.remote.retry import Backoff, RemoteError
from rsdata.sandbox.scenes import Scene, pixels, scene_by_id, scenes_at
from rsdata.sandbox.serve import sandbox
from rsdata.sandbox.stac.items import added, item_id, item_of
from rsdata.sandbox.stac.routes import routes
from rsdata.seasonal.grid import native_crs, patch_grid
from rsdata.seasonal.scenes import SceneInfo
from rsdata.sensors import SENSORS
from rsdata.sources.base import Fetched, FetchError, Item
from rsdata.stac.client import check_url, open_catalogue
from rsdata.stac.cogs import read_window
from rsdata.stac.fetch import check_ready, fetch_place
from rsdata.stac.items import added_to, scene_of
from shards.errors import ConfigError
from shards.failures import FailureClass
from shards.raster import decode_raster

L2A = SENSORS["s2-l2a"]
DAY_MS = 86_400_000
BERLIN = (13.4, 52.5)
WINDOWS = [["2022-03-05", "2022-03-20"], ["2021-12-05", "2021-12-20"]]


@dataclass(frozen=True)
class Options:
    endpoint: str | None
    sensor: str = "s2-l2a"
    scene: Any = "latest"
    cloud_percent: float | None = 60.0
    patch_cloud_percent: float | None = None
    threads: int = 8
    rate: float | None = None


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with sandbox(routes=routes()) as base:
        yield base


def place(lon: float, lat: float, windows: list[list[str]] = WINDOWS) -> Item:
    facts = json.dumps({"shift_days": 3, "windows": windows})
    return Item("000007", (), key="000007", group="000007", lon=lon, lat=lat, facts=facts)


def facts_of(fetched: Fetched) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fetched.sample.members["json"])
    return found


def shown_by(view: dict[str, Any]) -> Scene:
    """The scene of the planet that a view of Berlin was read from."""
    (scene,) = [s for s in scenes_at("s2-l2a", *BERLIN, *span_of(view)) if item_id(s) == view["scene"]]
    return scene


def span_of(view: dict[str, Any]) -> tuple[int, int]:
    return tuple(int(np.datetime64(day, "ms").astype(int)) for day in view["window"])  # type: ignore[return-value]


def test_every_pixel_is_that_of_the_scene(url: str) -> None:
    """Across the change of 2022-01-25: the offset of the new scenes is off, whoever took it off."""
    fetched = fetch_place(Options(f"{url}/stac"), place(*BERLIN))
    facts = facts_of(fetched)
    assert [view["window"] for view in facts["views"]] == sorted(WINDOWS), "oldest first"
    for number, view in enumerate(facts["views"]):
        scene = shown_by(view)
        for name, member in view["members"].items():
            assert name.startswith(f"{number:03d}.b{member['gsd_m']}.")
            got = decode_raster(fetched.sample.members[name])
            side = 2640 // member["gsd_m"]
            assert got.shape == (len(member["bands"]), side, side) and got.dtype == np.uint16
            for plane, band in zip(got, member["bands"], strict=True):
                expected, valid = pixels(scene, band, member["transform"], side, side)
                assert valid.all() and np.array_equal(plane, expected), (view["scene"], band)


def test_offsets_of_both_kinds_are_met(url: str) -> None:
    scenes = scenes_at("s2-l2a", *BERLIN, *(np.array(["2022-01-10", "2022-03-20"], "M8[ms]").astype(int)))
    kinds = {
        (added(scene), item_of(scene, url)["properties"]["earthsearch:boa_offset_applied"])
        for scene in scenes
    }
    assert kinds == {(0, False), (0, True), (1000, False)}, "old, harmonised, not harmonised"
    for scene in scenes:
        item = item_of(scene, url)
        assert added_to(L2A, item, item["assets"]["red"]) == added(scene)
        del item["properties"]["s2:processing_baseline"]
        assert added_to(L2A, item, item["assets"]["red"]) == added(scene), "the date tells, too"


def test_same_sample_as_through_earth_engine() -> None:
    pytest.importorskip("rsdata.sandbox.earthengine")
    from rsdata.earthengine.fetch import fetch_place as from_earth_engine

    @dataclass(frozen=True)
    class Account(Options):
        project: str | None = "local"
        credentials: str = "anonymous"
        legacy: bool = False

    with sandbox() as base:
        for where in (BERLIN, (11.99, 48.1), (-70.2, -53.2)):
            item = place(*where)
            one = fetch_place(Options(f"{base}/stac"), item)
            two = from_earth_engine(Account(base), item)
            assert sorted(one.sample.members) == sorted(two.sample.members)
            for name, data in one.sample.members.items():
                if name != "json":
                    assert np.array_equal(decode_raster(data), decode_raster(two.sample.members[name])), name
            ours, theirs = facts_of(one)["views"], facts_of(two)["views"]
            for a, b in zip(ours, theirs, strict=True):
                scene = scene_by_id("s2-l2a", b["scene"])
                assert scene is not None and a["scene"] == item_id(scene)
                same = ("crs", "transform", "window", "cloud_percent", "members", "time")
                assert {k: a[k] for k in same} == {k: b[k] for k in same}


def test_same_bytes_from_many_threads_and_through_faults() -> None:
    items = [place(lon, 52.4, WINDOWS[:1]) for lon in (13.1, 13.3, 13.5)]
    faults = ["429=0.15", "500=0.1", "cut=0.1", "half=0.1", "html=0.05"]
    with sandbox(routes=routes()) as calm, sandbox(routes=routes(), faults=faults, seed=0) as wild:
        expected = [fetch_place(Options(f"{calm}/stac"), item).sample.members for item in items]
        with ThreadPoolExecutor(3) as pool:
            options = Options(f"{wild}/stac", threads=6)
            got = list(pool.map(lambda item: fetch_place(options, item).sample.members, items))
        assert [{**m, "json": b""} for m in got] == [{**m, "json": b""} for m in expected]
        stats = json.loads(urllib.request.urlopen(f"{wild}/_sandbox/stats").read())
        assert sum(stats["faults"].values()) > 10 and stats["max_concurrent"] <= 6


@pytest.mark.parametrize("fault", ["html@/cog=1", "cut@/cog=1", "html@/search=1"])
def test_lasting_damage_is_no_fact_of_the_archive(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    quick = partial(open_catalogue, backoff=Backoff(attempts=2, base_s=0.001))
    monkeypatch.setattr("rsdata.stac.fetch.open_catalogue", quick)
    monkeypatch.setattr("rsdata.stac.client.ANSWERS", Backoff(attempts=2, base_s=0.001))
    with sandbox(routes=routes(), faults=[fault]) as url, pytest.raises(FetchError) as caught:
        fetch_place(Options(f"{url}/stac"), place(*BERLIN, WINDOWS[:1]))
    assert caught.value.kind is FailureClass.TRANSIENT


def test_clouds_of_the_patch_are_measured_and_limited(url: str) -> None:
    def best(limit: float, start: str) -> dict[str, Any]:
        options = Options(f"{url}/stac", cloud_percent=None, patch_cloud_percent=limit)
        (view,) = facts_of(fetch_place(options, place(*BERLIN, [[start, "2021-07-15"]])))["views"]
        return view

    cloudy, clear = best(100, "2021-07-05"), best(1, "2021-07-05")
    assert cloudy["time"][:10] == "2021-07-14" and clear["time"][:10] == "2021-07-09"
    for view in (cloudy, clear):
        transform = next(m["transform"] for m in view["members"].values() if m["gsd_m"] == 20)
        classes, _ = pixels(shown_by(view), "SCL", transform, 132, 132)
        share = 100 * np.isin(classes, L2A.cloud_mask.classes).mean()  # type: ignore[union-attr]
        assert view["patch_cloud_percent"] == pytest.approx(share) and (share > 50) == (view is cloudy)
    with pytest.raises(FetchError, match=r"clouds over 5\d\.\d % of the patch") as caught:
        best(1, "2021-07-11")
    assert caught.value.kind is FailureClass.GONE


def test_a_place_without_scenes_is_gone(url: str) -> None:
    with pytest.raises(FetchError, match="no scene in 2021-12-05/2021-12-20") as caught:
        fetch_place(Options(f"{url}/stac"), place(-30.0, 20.0))  # the open Atlantic
    assert caught.value.kind is FailureClass.GONE
    with pytest.raises(FetchError, match="no scene in") as caught:
        fetch_place(Options(f"{url}/stac", cloud_percent=0.0001), place(*BERLIN))
    assert caught.value.kind is FailureClass.GONE


@pytest.mark.parametrize("where", [(179.99, -16.6), (-179.995, -16.7), (5.999, 45.0), (-68.0, -54.8)])
def test_edges_of_the_map(url: str, where: tuple[float, float]) -> None:
    """The antimeridian, the edge of a zone, the far south: both seasons on one grid of 60 m."""
    facts = facts_of(fetch_place(Options(f"{url}/stac", cloud_percent=None), place(*where)))
    ((crs, transform),) = {(view["crs"], tuple(view["transform"])) for view in facts["views"]}
    assert crs == native_crs(*where) and transform[2] % 60 == transform[5] % 60 == 0


def test_footprints_cut_at_the_antimeridian_are_whole_again(url: str) -> None:
    scenes = list(scenes_at("s2-l2a", 179.99, -16.6, 1_640_000_000_000, 1_640_000_000_000 + 20 * DAY_MS))
    crossing = [s for s in scenes if max(lon for lon, _ in s.footprint) > 180]
    assert crossing
    item = item_of(crossing[0], url)
    assert item["geometry"]["type"] == "MultiPolygon"
    info = scene_of(L2A, item)
    assert len(info.rings) == 1 and max(lon for lon, _ in info.rings[0]) > 180


def test_real_clients_understand_the_api(url: str) -> None:
    api = Api.open(f"{url}/stac")
    assert [c.id for c in api.get_collections()] == ["sentinel-2-l2a"]
    wanted = {
        "collections": ["sentinel-2-l2a"],
        "bbox": [13.3, 52.4, 13.5, 52.6],
        "datetime": "2021-06-01/2021-07-31",
    }
    posted = [i.id for i in api.search(**wanted, limit=4).items()]
    got = [i.id for i in api.search(**wanted, limit=7, method="GET").items()]
    assert posted == got and len(posted) > 20 and len(set(posted)) == len(posted), "pages, not one twice"
    clear = list(api.search(**wanted, query={"eo:cloud_cover": {"lt": 20}}).items())
    assert 0 < len(clear) < len(posted) and all(i.properties["eo:cloud_cover"] < 20 for i in clear)
    item = api.get_collection("sentinel-2-l2a").get_item(posted[0])
    assert item is not None and item.id == posted[0]
    red = item.to_dict()["assets"]["red"]
    # GDAL's own network code; in a process of its own, because it waits for us with the interpreter's lock held.
    code = "import rasterio, sys; d = rasterio.open(sys.argv[1]); print(d.crs.to_epsg(), d.shape, *d.transform[:6])"
    said = subprocess.run(
        [sys.executable, "-c", code, red["href"]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split(maxsplit=3)
    assert said[1] + said[2] == "(10980,10980)" and posted[0][3:5] == said[0][3:]
    assert [float(x) for x in said[3].split()] == red["proj:transform"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b'{"bbox": [1, 2]}', "cannot be read"),
        (b'{"datetime": "tomorrow", "bbox": [1, 2, 3, 4]}', "datetime"),
        (b'{"limit": 0, "bbox": [1, 2, 3, 4]}', "limit"),
        (b"{}", "give bbox"),
        (
            b'{"bbox": [13, 52, 13.1, 52.1], "query": {"x": {"like": 1}}, "datetime": "2021-06-01/2021-06-02"}',
            "like",
        ),
    ],
)
def test_bad_searches_are_answered_400(url: str, body: bytes, says: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(f"{url}/stac/search", body))
    assert caught.value.code == 400 and says in json.loads(caught.value.read())["description"]


def ranged(address: str, header: str) -> tuple[int, bytes, str]:
    request = urllib.request.Request(address, headers={"Range": header})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), answer.headers["Content-Range"]
    except urllib.error.HTTPError as error:
        return error.code, b"", error.headers["Content-Range"]


def test_ranges_of_the_host_fit_together(url: str) -> None:
    scene = next(iter(scenes_at("s2-l2a", *BERLIN, 1_640_000_000_000, 1_640_000_000_000 + 10 * DAY_MS)))
    address = f"{url}/cog/{scene.id}/coastal.tif"
    status, whole, said = ranged(address, "bytes=65000-200000")
    assert status == 206 and len(whole) == 135_001 and said.startswith("bytes 65000-200000/")
    assert (
        b"".join(ranged(address, f"bytes={a}-{b}")[1] for a, b in ((65000, 70000), (70001, 200000))) == whole
    )
    size = int(said.rpartition("/")[2])
    assert ranged(address, "bytes=-10")[1] == ranged(address, f"bytes={size - 10}-")[1]
    assert ranged(address, f"bytes={size}-")[0] == 416
    assert ranged(f"{url}/cog/{scene.id}/nothing.tif", "bytes=0-9")[0] == 404


def test_few_requests_for_a_window(url: str) -> None:
    """A header, then the tiles in a range a row of them (neighbouring rows lie far apart in the file)."""
    scene = next(iter(scenes_at("s2-l2a", *BERLIN, 1_640_000_000_000, 1_640_000_000_000 + 10 * DAY_MS)))
    info = scene_of(L2A, item_of(scene, url))
    grid = patch_grid(L2A, info.crs, info.natives, *BERLIN)
    with sandbox(routes=routes()) as own:
        catalogue = open_catalogue(Options(f"{own}/stac"))
        urllib.request.urlopen(urllib.request.Request(f"{own}/_sandbox/reset", b"")).read()
        values, valid = read_window(catalogue, f"{own}/cog/{scene.id}/scl.tif", grid, 20)
        stats = json.loads(urllib.request.urlopen(f"{own}/_sandbox/stats").read())
    expected, _ = pixels(scene, "SCL", grid.affine(20), 132, 132)
    assert valid.all() and np.array_equal(values, expected)
    assert stats["requests"] <= 3


def test_what_an_item_may_not_point_at() -> None:
    for bad in (
        "s3://sentinel-cogs/x.tif",
        "file:///etc/passwd",
        "/etc/passwd",
        "http://93.184.216.34/x.tif",
        "https://127.0.0.1/x.tif",
        "https://10.1.2.3/x.tif",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x.tif",
        "https://[fd00::1]/x.tif",
        "https://localhost/x.tif",
    ):
        with pytest.raises(RemoteError) as caught:
            check_url(bad, local=False)
        assert caught.value.kind is FailureClass.REFUSED and not caught.value.again
    check_url("https://93.184.216.34/x.tif", local=False)
    check_url("http://127.0.0.1:8000/x.tif", local=True)
    with pytest.raises(RemoteError):
        check_url("http://192.168.0.1/x.tif", local=True)


def test_a_missing_file_is_a_matter_of_the_scene(url: str) -> None:
    info = SceneInfo("x", 0, None, "EPSG:32633", {g: (g, 0, 399960, 0, -g, 5900040) for g in (10, 20, 60)})
    grid = patch_grid(L2A, info.crs, info.natives, 14.0, 52.9)
    from rsdata.seasonal.place import UnfitError

    catalogue = open_catalogue(Options(f"{url}/stac"))
    with pytest.raises(UnfitError, match="answered 404") as caught:
        read_window(catalogue, f"{url}/cog/no_such_scene/red.tif", grid, 10)
    assert caught.value.kind is FailureClass.GONE
    with pytest.raises(UnfitError) as caught:
        read_window(catalogue, f"{url}/stac", grid, 10)  # JSON, no TIFF
    assert caught.value.kind is FailureClass.INVALID


def test_endpoints_that_are_no_catalogue_are_said_in_a_sentence(url: str) -> None:
    for endpoint in (
        f"{url}/stac/conformance",
        f"{url}/nothing",
        "http://127.0.0.1:9/stac",
        "ftp://example.org",
        "x",
    ):
        with pytest.raises(ConfigError, match="is not a STAC API that can be used") as caught:
            open_catalogue(Options(endpoint), backoff=Backoff(attempts=2, base_s=0.01))
        assert "\n" not in str(caught.value)
    check_ready(Options(f"{url}/stac"))
    with pytest.raises(ConfigError, match="s1-grd: is not read through STAC; choose s2-l2a"):
        check_ready(Options(f"{url}/stac", sensor="s1-grd"))
