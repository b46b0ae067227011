from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from rsdata.land import coastlines, is_land
from rsdata.sandbox.sites import FUNCTIONS, Site
from rsdata.sandbox.world import BANDS, COVER, Grid, World
from rsdata.sandbox.world.grid import Ground, crs_for, utm_label
from rsdata.sandbox.world.noise import octave, wavelength
from shards.errors import ConfigError

JULY = datetime(2021, 7, 5, 10, tzinfo=UTC)
JANUARY = datetime(2021, 1, 5, 10, tzinfo=UTC)
WORLD = World(0)
ZURICH = (8.54, 47.37)


def shifted(grid: Grid, columns: int, rows: int, width: int, height: int) -> Grid:
    return Grid(grid.crs, grid.x0 + columns * grid.res, grid.y0 - rows * grid.res, grid.res, width, height)


def test_land_and_sea_where_they_are() -> None:
    inland = [(8, 47), (-100, 40), (25, 0), (134, -25), (100, 60), (0, -88)]
    at_sea = [(-30, 40), (0, 0), (-150, 20), (80, -30), (0, 89.9), (180, 0), (-180, 0), (540, 0)]
    lon, lat = np.array(inland + at_sea, float).T
    assert is_land(lon, lat).tolist() == [True] * len(inland) + [False] * len(at_sea)
    rings = coastlines()
    assert len(rings) > 100 and all(ring.shape[1] == 2 and np.isfinite(ring).all() for ring in rings)


@pytest.mark.parametrize("res_m", [1.0, 10.0])
@pytest.mark.parametrize("lon, lat", [ZURICH, (-93.6, 42.2), (179.9995, -16.5), (0.0, 78.5)])
def test_overlapping_tiles_agree_to_the_bit(lon: float, lat: float, res_m: float) -> None:
    whole = Grid.around(lon, lat, res_m, (160, 140))
    part = shifted(whole, 37, 51, 90, 60)
    for time in (JANUARY, JULY):
        a = WORLD.reflectance(whole, time, ["red", "nir", "swir1"])[:, 51:111, 37:127]
        assert np.array_equal(a, WORLD.reflectance(part, time, ["red", "nir", "swir1"]))
    assert np.array_equal(WORLD.landcover(whole)[51:111, 37:127], WORLD.landcover(part))
    assert np.allclose(WORLD.cloud(whole, JULY)[51:111, 37:127], WORLD.cloud(part, JULY), atol=1e-5)


def test_two_utm_zones_show_the_same_ground() -> None:
    """The picture of zone 31 looked up at the pixel centres of zone 32, at their border (6° E)."""
    east = Grid.around(6.02, 47.0, 10.0, 128)
    west = Grid.around(5.98, 47.0, 10.0, 1024)
    assert (east.crs, west.crs) == ("EPSG:32632", "EPSG:32631")
    a = WORLD.reflectance(east, JULY, ["nir"])[0]
    rows, columns = np.mgrid[0:128, 0:128] + 0.5
    x, y = west.pixel(*east.lonlat(columns, rows))
    assert x.min() >= 0 and x.max() < 1024 and y.min() >= 0 and y.max() < 1024
    b = WORLD.reflectance(west, JULY, ["nir"])[0][y.astype(int), x.astype(int)]
    # Lookup by nearest pixel moves borders by up to half a pixel; most pixels lie inside something.
    assert np.median(np.abs(a - b)) < 0.02
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.75
    exact = Ground.of(east).xyz
    lon, lat = east.lonlat(columns, rows)
    want = np.stack(
        [
            np.cos(np.radians(lat)) * np.cos(np.radians(lon)),
            np.cos(np.radians(lat)) * np.sin(np.radians(lon)),
            np.sin(np.radians(lat)),
        ]
    )
    assert np.abs(exact - want).max() * 6.371e6 < 0.5, (
        "knots and interpolation: within a twentieth of a pixel"
    )


def test_noise_has_no_seam_where_faces_of_the_cube_meet() -> None:
    """45° E on the equator and the cube's corners: neighbours never differ by more than elsewhere."""
    for lon, lat in ((45.0, 0.0), (45.0, 35.2643897), (0.0, 45.0)):
        ground = Ground.of(Grid("EPSG:4326", lon - 0.25, lat + 0.25, 0.005, 100, 100))
        assert len(ground.faces) > 1
        # A seam would jump by about 1; noise itself rises by at most 3.75 a cell, and cells shrink to 0.58 at corners.
        for points, level, pixel_m in ((ground, 9, 556), (ground.knots, 6, 8 * 556)):
            field = octave(points, level, 7)
            steps = np.abs(np.diff(field, axis=1)).max(), np.abs(np.diff(field, axis=0)).max()
            assert max(steps) < 3.75 / 0.58 * pixel_m / wavelength(level) + 0.1


def test_antimeridian_and_poles() -> None:
    across = Grid("EPSG:4326", 179.5, -16.0, 0.01, 100, 60)
    beyond = Grid("EPSG:4326", -180.5, -16.0, 0.01, 100, 60)  # the same ground, other numbers
    assert np.array_equal(WORLD.landcover(across), WORLD.landcover(beyond))
    for lat in (89.99, -89.99):
        image = WORLD.rgb(Grid.around(30, lat, 30.0, 64), JULY)
        assert image.shape == (64, 64, 3) and image.mean() > 20
    whole = WORLD.rgb(Grid("EPSG:4326", -180, 90, 4.0, 90, 45), JULY)
    assert whole.std() > 20


def test_ground_does_not_depend_on_the_date_nor_pixels_on_the_order_of_asking() -> None:
    grid = Grid.around(*ZURICH, 3.0, 64)
    scene = WORLD.scene(grid)
    first = scene.rgb(JULY)
    scene.rgb(JANUARY)
    assert np.array_equal(scene.rgb(JULY), first) and np.array_equal(WORLD.rgb(grid, JULY), first)
    assert not np.array_equal(scene.rgb(JULY, acquisition=1), first), "another acquisition has other noise"
    assert not np.array_equal(World(1).rgb(grid, JULY), first)


def ndvi(lon: float, lat: float, time: datetime) -> float:
    red, nir = WORLD.reflectance(Grid.around(lon, lat, 60.0, 96), time, ["red", "nir"])
    return float(np.median((nir - red) / (nir + red)))


def test_seasons_turn_with_the_hemisphere_and_not_in_the_rain_forest() -> None:
    def swing(places: list[tuple[float, float]]) -> float:
        months = [[datetime(2021, month, day, tzinfo=UTC) for day in (3, 11, 19)] for month in (7, 1)]
        summer, winter = (
            np.median([ndvi(*place, time) for place in places for time in times]) for times in months
        )
        return float(summer - winter)

    north = swing([(-80, 43.5), (20, 52), (40, 55)])
    south = swing([(-70.5, -47), (146.5, -42), (170, -45)])
    tropics = swing([(-62, -2), (22, 0.5)])
    assert north > 0.15 and south < -0.1 and abs(tropics) < 0.12, (north, south, tropics)


def test_geography_shows() -> None:
    share = {
        name: np.bincount(WORLD.landcover(Grid.around(lon, lat, 100.0, 128)).ravel(), minlength=len(COVER))
        / 128**2
        for name, (lon, lat) in {
            "sahara": (10, 24),
            "amazon": (-63, -4),
            "siberia": (95, 62),
            "atlantic": (-35, 30),
            "greenland": (-42, 74),
        }.items()
    }
    assert share["sahara"][COVER.index("bare")] > 0.8
    assert share["amazon"][COVER.index("broadleaf")] > 0.5
    assert share["siberia"][COVER.index("conifer")] > 0.3
    assert share["atlantic"][COVER.index("water")] == 1
    assert share["greenland"][COVER.index("ice")] > 0.5


@pytest.mark.parametrize("lon, lat", [(139.69, 35.69), (-87.65, 41.85), (14.51, 35.9), (103.85, 1.29)])
def test_cities_are_built_and_on_land_also_on_islands_the_coastline_lacks(lon: float, lat: float) -> None:
    cover = WORLD.landcover(Grid.around(lon, lat, 2.0, 128))
    assert (cover == COVER.index("built")).mean() > 0.3
    assert (cover == COVER.index("water")).mean() < 0.2
    # Streets: brightness repeats much more along lines than noise would, so rows of an edge map correlate.
    green = WORLD.reflectance(Grid.around(lon, lat, 2.0, 128), JULY, ["green"])[0]
    assert green.std() / green.mean() > 0.1


def test_every_band_answers_and_bands_mean_something() -> None:
    grid = Grid.around(-63, -4, 10.0, 64)
    for day in range(1, 28, 3):
        time = datetime(2021, 8, day, tzinfo=UTC)
        if WORLD.cloud(grid, time).mean() < 0.02:
            break
    values = dict(zip(BANDS, WORLD.reflectance(grid, time, list(BANDS)), strict=True))
    assert all(np.isfinite(band).all() for band in values.values())
    assert np.median(values["nir"]) > 3 * np.median(values["red"]), "forest"
    assert np.median(values["swir2"]) < np.median(values["swir1"]) < np.median(values["nir"])
    assert -40 < np.median(values["vh"]) < np.median(values["vv"]) < 5
    with pytest.raises(ConfigError, match="band 'b4' is not known; known: coastal"):
        WORLD.reflectance(grid, JULY, ["b4"])


def test_clouds_differ_by_date_and_hide_the_ground() -> None:
    grid = Grid.around(-0.1, 51.5, 60.0, 64)
    covers = [float(WORLD.cloud(grid, datetime(2021, 5, day, tzinfo=UTC)).mean()) for day in range(1, 29)]
    assert min(covers) < 0.05 and max(covers) > 0.6
    assert 0.1 < np.mean(covers) < 0.75


@pytest.mark.parametrize("function", FUNCTIONS)
def test_sites_stand_out_from_their_ground_and_only_there(function: str) -> None:
    site = Site(function, -93.0, 42.5, 99)
    res_m = max(site.half_m) * 4 / 96
    grid = Grid.around(site.lon, site.lat, res_m, 96)
    plain, with_site = (WORLD.scene(grid, sites).rgb(JULY).astype(int) for sites in ((), (site,)))
    changed = np.abs(plain - with_site).sum(axis=2) > 24
    columns, rows = np.array([grid.pixel(lon, lat) for lon, lat in site.corners()]).T
    inside = changed[int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
    assert inside.sum() > (0.004 if function == "wind_farm" else 0.1) * inside.size
    later = WORLD.scene(grid, (site,)).rgb(datetime(2016, 1, 20, tzinfo=UTC)).astype(int)
    assert np.abs(later - with_site).mean() > 3, "views of a place differ by date"


def test_zones_and_bad_grids() -> None:
    assert [crs_for(*p) for p in ((8, 47), (-70, -33), (179.9, 1), (-180, 1), (0, 85), (0, -81))] == [
        "EPSG:32632",
        "EPSG:32719",
        "EPSG:32660",
        "EPSG:32601",
        "EPSG:32661",
        "EPSG:32761",
    ]
    assert [utm_label(*p) for p in ((8.58, 47.45), (-70, -33), (10, 83))] == ["32T", "19H", "32X"]
    with pytest.raises(ConfigError, match="above 0"):
        Grid("EPSG:32632", 0, 0, 0, 1, 1)
    with pytest.raises(ConfigError, match="EPSG:99999"):
        WORLD.landcover(Grid("EPSG:99999", 0, 0, 1, 4, 4))
    with pytest.raises(ConfigError, match="known: airport"):
        Site("castle", 0, 0, 0)
