"""The grid of a place, which scenes may serve it, and the arithmetic of the published downloader."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdata.earthengine.legacy import centre_crop, cropped_corners, published_affine, to_uint8
from rsdata.seasonal.grid import Affine, native_crs, on_grid, patch_grid, to_crs
from rsdata.seasonal.place import cloudy
from rsdata.seasonal.scenes import SceneInfo, choices, covers, outer_rings, ranked
from rsdata.sensors import SENSORS, CloudMask
from rsdata.sources.base import FetchError
from shards.failures import FailureClass

S2 = SENSORS["s2-l2a"]
WINDOWS = [("2020-03-12", "2020-03-27"), ("2020-06-04", "2020-06-19")]


def natives(x: float, y: float, resolutions: tuple[int, ...] = (10, 20, 60)) -> dict[int, Affine]:
    return {gsd: (float(gsd), 0.0, x, 0.0, -float(gsd), y) for gsd in resolutions}


def scene(name: str, crs: str, *, cloud: float = 1.0, time_ms: int = 0, **other: object) -> SceneInfo:
    made = SceneInfo(name, time_ms, cloud, crs, natives(399_960.0, 4_500_000.0))
    return replace(made, **other)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(lon=st.floats(-180, 180), lat=st.floats(-80, 83))
def test_all_resolutions_nest_and_the_place_is_in_the_middle(lon: float, lat: float) -> None:
    crs = native_crs(lon, lat)
    grid = patch_grid(S2, crs, natives(399_960.0, 4_500_000.0), lon, lat)
    assert len({corner[1:] for corner in grid.corners}) == 1, "one corner for all resolutions"
    assert [grid.side_px(gsd) for gsd in (10, 20, 60)] == [264, 132, 44]
    x, y = grid.corner(10)
    assert (x - 399_960) % 60 == 0 and (y - 4_500_000) % 60 == 0
    cx, cy = to_crs(crs, [(lon, lat)])[0]
    assert abs(x + 1320 - cx) <= 30 and abs(y - 1320 - cy) <= 30
    assert on_grid(grid, natives(300_000.0, 5_000_040.0)), "every tile of a zone has the same pixels"


def test_grids_that_do_not_nest_keep_their_own_pixels() -> None:
    landsat = SENSORS["landsat-8"]
    own = {
        30: (30.0, 0.0, 381_585.0, 0.0, -30.0, 4_500_015.0),
        15: (15.0, 0.0, 381_592.5, 0.0, -15.0, 4_500_007.5),
    }
    grid = patch_grid(landsat, "EPSG:32633", own, 15.0, 40.0)
    assert on_grid(grid, own)
    assert [grid.side_px(gsd) for gsd in (15, 30)] == [264, 132]
    assert abs(grid.corner(15)[0] - grid.corner(30)[0]) == 7.5
    assert landsat.pixel_requests == 2 and S2.pixel_requests == 1


def test_a_scene_off_the_grid_is_seen() -> None:
    grid = patch_grid(S2, "EPSG:32633", natives(399_960.0, 4_500_000.0), 15.0, 40.0)
    assert not on_grid(grid, natives(399_963.0, 4_500_000.0))


@pytest.mark.parametrize("lon", [179.999, -179.999, 180.0, -180.0])
def test_the_antimeridian_is_a_place_like_any_other(lon: float) -> None:
    near = [to_crs(crs, [(lon, -16.5)])[0] for crs in ("EPSG:32760", "EPSG:32701")]
    assert all(abs(x - 500_000) < 400_000 for x, _ in near)
    west = to_crs("EPSG:32760", [(179.9999, -16.5), (-179.9999, -16.5)])
    assert 0 < west[1][0] - west[0][0] < 50


def test_a_footprint_must_hold_the_whole_patch() -> None:
    grid = patch_grid(S2, "EPSG:32633", natives(399_960.0, 4_500_000.0), 15.0, 40.0)
    wide = ((14.5, 39.5), (15.5, 39.5), (15.5, 40.5), (14.5, 40.5), (14.5, 39.5))
    half = ((15.0, 39.5), (15.5, 39.5), (15.5, 40.5), (15.0, 40.5), (15.0, 39.5))
    assert covers(scene("a", "EPSG:32633", rings=(wide,)), grid)
    assert not covers(scene("a", "EPSG:32633", rings=(half,)), grid), "it holds the point, not the patch"
    assert covers(scene("a", "EPSG:32633"), grid), "without a footprint the pixels must tell"
    fiji = patch_grid(S2, "EPSG:32760", natives(399_960.0, 8_200_020.0), 179.999, -16.5)
    over = ((179.5, -17.0), (180.5, -17.0), (180.5, -16.0), (179.5, -16.0), (179.5, -17.0))
    jump = tuple((lon - 360 if lon > 180 else lon, lat) for lon, lat in over)
    assert covers(scene("a", "EPSG:32760", rings=(over,)), fiji)
    assert covers(scene("a", "EPSG:32760", rings=(jump,)), fiji)


def test_footprints_of_any_kind_and_of_none() -> None:
    ring = [[0, 0], [1, 0], [1, 1], [0, 0]]
    same = (((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0)),)
    assert outer_rings({"type": "LinearRing", "coordinates": ring}) == same
    assert outer_rings({"type": "Polygon", "coordinates": [ring]}) == same
    assert outer_rings({"type": "MultiPolygon", "coordinates": [[ring], [ring]]}) == same * 2
    for odd in (None, {}, {"type": "Point", "coordinates": [0, 0]}, {"type": "Polygon", "coordinates": []}):
        assert outer_rings(odd) == ()


def test_the_rule_does_not_depend_on_the_order_of_the_answer() -> None:
    scenes = [
        scene("c", "EPSG:32633", cloud=5, time_ms=3),
        scene("b", "EPSG:32633", cloud=0, time_ms=1),
        scene("a", "EPSG:32633", cloud=0, time_ms=1),
        scene("d", "EPSG:32633", cloud=None, time_ms=9),
    ]
    for order in (scenes, scenes[::-1]):
        assert [s.id for s in ranked(order, "latest")] == ["d", "c", "a", "b"]
        assert [s.id for s in ranked(order, "least-cloudy")] == ["a", "b", "c", "d"]


def test_all_seasons_come_from_one_zone() -> None:
    home, next_door = "EPSG:32633", "EPSG:32632"
    lon, lat = 12.01, 45.0
    seasons = [[scene("a33", home), scene("a32", next_door)], [scene("b32", next_door)]]
    found = choices(S2, WINDOWS, seasons, lon, lat, "latest")
    assert [c.grid.crs for c in found] == [next_door], "the zone of the place has no scene for one season"
    seasons[1].append(scene("b33", home))
    found = choices(S2, WINDOWS, seasons, lon, lat, "latest")
    assert [c.grid.crs for c in found] == [home, next_door]
    assert [[s.id for s in season] for season in found[0].seasons] == [["a33"], ["b33"]]


def test_what_is_missing_is_said() -> None:
    far = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
    with pytest.raises(FetchError, match=r"no scene in 2020-06-04/2020-06-19$") as caught:
        choices(S2, WINDOWS, [[scene("a", "EPSG:32633")], []], 15.0, 40.0, "latest")
    assert caught.value.kind is FailureClass.GONE
    seasons = [[scene("a", "EPSG:32633")], [scene("b", "EPSG:32633", rings=(far,))]]
    with pytest.raises(FetchError, match="no scene in 2020-06-04/2020-06-19 covers the whole patch"):
        choices(S2, WINDOWS, seasons, 15.0, 40.0, "latest")
    apart = [[scene("a", "EPSG:32633")], [scene("b", "EPSG:32632")]]
    with pytest.raises(FetchError, match="covers the whole patch"):
        choices(S2, WINDOWS, apart, 12.01, 40.0, "latest")


def test_cloud_masks_by_class_bit_and_probability() -> None:
    values = np.array([[3, 4], [8, 11]])
    assert cloudy(CloudMask("SCL", 20, classes=(3, 8, 9, 10)), values).tolist() == [
        [True, False],
        [True, False],
    ]
    assert cloudy(CloudMask("QA", 30, bits=(3,)), values).tolist() == [[False, False], [True, True]]
    assert cloudy(CloudMask("p", 10, above=8), values).tolist() == [[False, False], [False, True]]


def test_tables_hold_what_a_row_needs() -> None:
    assert [len(SENSORS[kind].bands) for kind in ("s2-l2a", "s2-l1c", "s1-grd", "landsat-8")] == [
        12,
        13,
        2,
        11,
    ]
    for kind, sensor in SENSORS.items():
        assert sensor.kind == kind and sensor.licence and sensor.attribution
        for gsd in sensor.resolutions:
            assert sensor.side_at(gsd) * gsd == sensor.ground_m
    assert (
        json.dumps({"l2a": S2.pixel_bytes, "stored": S2.stored_bytes}) == '{"l2a": 1672704, "stored": 774400}'
    )


@pytest.mark.parametrize(
    ("size", "crop", "offset"),
    [
        (264, 264, 0),
        (265, 264, 1),
        (266, 264, 1),
        (275, 264, 6),
        (134, 132, 1),
        (137, 132, 3),
        (45, 44, 1),
        (46, 44, 1),
    ],
)
def test_published_crop(size: int, crop: int, offset: int) -> None:
    pixels = np.arange(size)[:, None] * np.ones(size, int)
    cut = centre_crop(pixels, crop, crop)
    assert cut.shape == (crop, crop) and cut[0, 0] == offset


def test_published_crop_of_what_is_too_small() -> None:
    assert centre_crop(np.zeros((263, 264)), 264, 264).shape == (263, 264)


def test_published_bytes() -> None:
    numbers = np.array([1000, 3000, 5000, 9999, 10_000, 65_000])
    assert to_uint8(numbers).tolist() == [25, 76, 127, 254, 255, 255]


def test_published_corners() -> None:
    corners = cropped_corners(((2.0, 48.9), (2.036, 48.876)), (268, 266), (264, 264))
    expected = [[2.000135338345865, 48.89982089552239], [2.035864661654135, 48.87617910447761]]
    np.testing.assert_allclose(corners, expected, rtol=0, atol=1e-12)
    x, _, west, _, y, north = published_affine(((2.0, 49.0), (2.1, 48.9)), (10, 10))
    np.testing.assert_allclose((x, y, west, north), (0.01, -0.01, 1.995, 49.005), rtol=0, atol=1e-12)
