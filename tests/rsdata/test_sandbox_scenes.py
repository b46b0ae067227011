"""The catalogue of scenes over the embedded planet, and their pixels."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
import shapely

from rsdata.sandbox.scenes import (
    COLLECTIONS,
    HARMONISED_FROM,
    PRODUCTS,
    Scene,
    pixels,
    scene_by_id,
    scenes_at,
    scenes_over,
    stack,
)
from rsdata.sandbox.world import Grid, World
from rsdata.sandbox.world.spectra import path_radiance

PLACES = {
    "Rome": (12.49, 41.9),
    "zone border": (12.0005, 41.9),
    "Sydney": (151.2, -33.86),
    "Taveuni": (-179.9, -16.85),
    "Quito": (-78.5, -0.05),
    "Tromsø": (18.95, 69.65),
    "South Orkney": (-45.6, -60.6),
    "Greenland": (-35.0, 83.2),
}


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


JUNE = (ms("2020-06-01"), ms("2020-06-16"))


def rome(when: tuple[int, int] = JUNE, kind: str = "s2-l2a") -> Scene:
    return next(scene for scene in scenes_at(kind, *PLACES["Rome"], *when) if scene.epsg in (32633, 32632))


def at(scene: Scene, gsd_m: float, column: int, row: int) -> tuple[float, ...]:
    _, _, x, _, _, y = scene.transform(gsd_m)
    return (gsd_m, 0, x + column * gsd_m, 0, -gsd_m, y - row * gsd_m)


@pytest.mark.parametrize("place", PLACES)
def test_scenes_hold_their_point_and_are_found_by_name(place: str) -> None:
    lon, lat = PLACES[place]
    for kind, product in PRODUCTS.items():
        window = JUNE if product.since < JUNE[0] else (ms("2022-06-01"), ms("2022-06-18"))
        found = scenes_at(kind, lon, lat, *window)
        if kind.startswith("s2") or kind == "s1-grd":
            assert found
        for scene in found:
            assert window[0] <= scene.time < window[1]
            near = lon + round((scene.footprint[0][0] - lon) / 360) * 360
            assert shapely.Polygon(scene.footprint).buffer(1e-3).contains(shapely.Point(near, lat))
            assert scene_by_id(kind, scene.id) == scene
            assert 0 <= scene.cloud_percent <= 100
            assert scene.origin_x % 60 == scene.origin_y % 60 == 0
        assert [scene.time for scene in found] == sorted(scene.time for scene in found)


def test_names_and_tiles_are_those_of_sentinel_2() -> None:
    tiles = {scene.tile for scene in scenes_at("s2-l2a", *PLACES["Rome"], *JUNE)}
    assert tiles == {"32TQM", "33TTG"}, "Rome lies in these two tiles in the real archive too"
    scene = rome()
    assert scene.id.endswith(f"_T{scene.tile}")
    assert scene.shape(10) == (10980, 10980)
    times = sorted({scene.time // 86_400_000 for scene in scenes_at("s2-l2a", *PLACES["Rome"], *JUNE)})
    assert set(np.diff(times)) == {5}


def test_zone_borders_hemispheres_and_the_antimeridian() -> None:
    def zones(place: str) -> set[int]:
        return {scene.epsg for scene in scenes_at("s2-l2a", *PLACES[place], *JUNE)}

    assert zones("zone border") == {32632, 32633}
    assert zones("Taveuni") >= {32701, 32760}
    assert zones("Sydney") == {32756}
    assert {32617, 32717} <= zones("Quito"), "tiles of the north reach 9.8 km over the equator"
    crossing = [
        scene
        for scene in scenes_at("s2-l2a", *PLACES["Taveuni"], *JUNE)
        if max(lon for lon, _ in scene.footprint) > 180 or min(lon for lon, _ in scene.footprint) < -180
    ]
    assert crossing
    for scene in crossing:
        assert np.ptp([lon for lon, _ in scene.footprint]) < 3


def test_no_scenes_at_open_sea_past_84_degrees_or_before_launch() -> None:
    assert scenes_at("s2-l2a", -30, -40, *JUNE) == []
    assert scenes_at("s2-l2a", 0, 85, *JUNE) == []
    assert scenes_at("s2-l2a", 0, -90, *JUNE) == []
    assert scenes_at("s2-l2a", *PLACES["Rome"], ms("2016-01-01"), ms("2017-01-01")) == []
    assert scenes_at("s2-l1c", *PLACES["Rome"], ms("2016-01-01"), ms("2016-02-01"))
    assert scene_by_id("s2-l2a", "nonsense") is None
    assert scene_by_id("s2-l2a", rome().id.replace("20200", "20190", 1)) is None


def test_a_region_gets_the_scenes_of_all_its_points() -> None:
    region = shapely.box(11.9, 41.8, 12.6, 42.0)
    found = {scene.id for scene in scenes_over("s2-l2a", region, *JUNE)}
    for lon in (11.9, 12.2, 12.6):
        assert {scene.id for scene in scenes_at("s2-l2a", lon, 41.9, *JUNE)} <= found


def test_pixels_are_the_worlds_and_the_same_in_every_window() -> None:
    scene = rome()
    values, valid = pixels(scene, "B4", at(scene, 10, 3000, 3100), 200, 150)
    assert values.dtype == np.uint16
    assert valid.all()
    part, _ = pixels(scene, "B4", at(scene, 10, 3037, 3111), 90, 80)
    np.testing.assert_array_equal(part, values[11:91, 37:127])
    # The oracle: the world itself, on a window of its own.
    _, _, x, _, _, y = at(scene, 10, 2990, 3090)
    grid = Grid(scene.crs, x, y, 10.0, 230, 180)
    truth = World(0).reflectance(grid, datetime.fromtimestamp(scene.sensed / 1000, UTC), ["red"])[0]
    digits = np.clip(np.rint((truth - np.float32(0.05 * path_radiance("red"))) * 10_000), 1, 65_535)
    np.testing.assert_array_equal(values, digits[10:160, 10:210].astype(np.uint16))


def test_finer_grids_repeat_cells_and_other_crs_take_the_nearest() -> None:
    scene = rome()
    coarse, _ = pixels(scene, "B1", at(scene, 60, 500, 510), 44, 44)
    fine, _ = pixels(scene, "B1", at(scene, 10, 3000, 3060), 264, 264)
    np.testing.assert_array_equal(fine, coarse.repeat(6, 0).repeat(6, 1))
    values, _ = stack(scene, ["B2", "B5", "B1"], at(scene, 10, 3000, 3060), 264, 264)
    np.testing.assert_array_equal(values[2], fine)
    lon, lat = Grid(scene.crs, *at(scene, 10, 3000, 3060)[2::3], 10.0, 264, 264).lonlat(100.5, 50.5)
    one, _ = pixels(scene, "B2", (1e-5, 0, float(lon) - 5e-6, 0, -1e-5, float(lat) + 5e-6), 1, 1, "EPSG:4326")
    assert one[0, 0] == values[0][50, 100]


def test_footprints_end_within_tiles_and_nothing_is_beyond() -> None:
    edges = [
        scene
        for lon in np.arange(6, 18, 0.7)
        for scene in scenes_at("s2-l2a", float(lon), 44.5, *JUNE)
        if scene.outline.area < 0.8 * scene.width_m * scene.height_m
    ]
    assert edges, "swath edges cut some tiles"
    scene = edges[0]
    values, valid = pixels(scene, "B4", at(scene, 400, 0, 0), 274, 274)
    assert 0.02 < valid.mean() < 0.85
    assert (values[~valid] == 0).all()
    assert (values[valid] > 0).all()
    _, outside = pixels(scene, "B4", at(scene, 10, -300, -300), 264, 264)
    assert not outside.any()


def test_the_same_ground_in_two_zones_lies_on_itself() -> None:
    found = {scene.epsg: scene for scene in scenes_at("s2-l2a", *PLACES["zone border"], *JUNE)}
    home, other = found[32633], found[32632]
    assert home.sensed == other.sensed
    x, y = (float(value) for value in Grid(home.crs, 0, 0, 1, 1, 1).pixel(*PLACES["zone border"]))
    transform = (10, 0, x // 60 * 60, 0, -10, -y // 60 * 60)
    here, valid = pixels(home, "B8", transform, 264, 264)
    there, covered = pixels(other, "B8", transform, 264, 264, home.crs)
    assert valid.all()
    assert covered.all()
    middle = here[2:-2, 2:-2].astype(float).ravel()

    def likeness(down: int, right: int) -> float:
        moved = there[2 + down : 262 + down, 2 + right : 262 + right].astype(float).ravel()
        return float(np.corrcoef(middle, moved)[0, 1])

    best = likeness(0, 0)
    assert best > 0.9
    assert best > max(likeness(d, r) for d, r in ((1, 0), (-1, 0), (0, 1), (0, -1)))


def test_clouds_of_the_metadata_the_masks_and_the_picture_agree() -> None:
    percent, share = [], []
    for scene in scenes_at("s2-l2a", *PLACES["Rome"], ms("2018-01-01"), ms("2019-07-01")):
        if scene.epsg != 32632:
            continue
        values, _ = stack(scene, ["SCL", "MSK_CLDPRB", "QA60"], at(scene, 120, 300, 300), 128, 128)
        cloudy = np.isin(values[0], (8, 9))
        # Levels of 20 m bands (80 m) and 60 m bands (120 m): edges of clouds differ by a cell.
        assert np.mean(cloudy != (values[1] > 50)) < 0.02
        assert np.mean(cloudy != ((values[2] & 1 << 10) > 0)) < 0.03
        percent.append(scene.cloud_percent)
        share.append(100 * cloudy.mean())
    assert np.corrcoef(percent, share)[0, 1] > 0.6
    assert abs(np.mean(percent) - np.mean(share)) < 15


def test_radar_and_landsat() -> None:
    radar = [
        scene
        for lon in (10.0, 12.49)
        for scene in scenes_at("s1-grd", lon, 41.9, ms("2020-01-01"), ms("2020-12-31"))
    ]
    kinds = {scene.bands for scene in radar}
    assert kinds == {("VV", "VH"), ("VV",)}, "some passes have one polarisation"
    scene = next(scene for scene in radar if len(scene.bands) == 2)
    x, y = (float(value) for value in Grid(scene.crs, 0, 0, 1, 1, 1).pixel(12.49, 41.9))
    transform = (10, 0, x // 10 * 10, 0, -10, -y // 10 * 10)
    (vv, vh), (valid, _) = stack(scene, ["VV", "VH"], transform, 64, 64)
    if valid.all():
        assert vv.dtype == np.float32
        assert -35 < vh.mean() < vv.mean() < 5
    single = next(scene for scene in radar if len(scene.bands) == 1)
    with pytest.raises(KeyError, match="VH"):
        pixels(single, "VH", transform, 8, 8)

    landsat = scenes_at("landsat-8", *PLACES["Rome"], ms("2020-06-01"), ms("2020-07-01"))[0]
    assert landsat.transform(30)[2] % 30 == 15
    values, _ = stack(landsat, ["B4", "B8", "B10", "QA_PIXEL"], at(landsat, 30, 2000, 3000), 64, 64)
    assert [part.dtype for part in values] == [np.float32, np.float32, np.float32, np.uint16]
    assert 0 <= values[0].min() <= values[0].max() < 1.3
    assert 240 < values[2].mean() < 350


def test_every_collection_has_a_product_and_the_offset_date_is_right() -> None:
    assert set(COLLECTIONS.values()) == set(PRODUCTS)
    assert ms("2022-01-25") == HARMONISED_FROM
