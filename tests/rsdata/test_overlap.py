"""Places keep their distance, truly and everywhere, and the list does not depend on how it is worked out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial import cKDTree  # type: ignore[import-untyped]

from rsdata.places.draw import Draw, around, settled, uniform_on_sphere
from rsdata.places.overlap import Taken, place_all
from rsdata.sources.seco import SeCo
from shards.errors import ConfigError
from shards.random import uniform
from shards.sphere import EARTH_RADIUS_KM, great_circle_km, unit_vectors

Floats = NDArray[np.float64]


def nearest_km(lon: Floats, lat: Floats) -> float:
    """Least distance of any two, by another program."""
    points = unit_vectors(lon, lat)
    chord = cKDTree(points).query(points, k=2)[0][:, 1].min()
    return float(2 * EARTH_RADIUS_KM * math.asin(chord / 2))


def band(west: float, width: float, south: float, north: float) -> Draw:
    """Anywhere in a box, which may lie across the antimeridian."""

    def draw(
        place: NDArray[np.int64], attempt: NDArray[np.int64]
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        u = uniform(7, place, attempt, count=2)
        return settled(west + width * u[..., 0], south + (north - south) * u[..., 1])

    return draw


BOXES = [(-10, 2, 40, 42), (178, 4, -1, 1), (179, 2, 78, 80.5), (-180, 360, 83.5, 83.6), (-20, 40, -84, -83)]


@pytest.mark.parametrize("box", BOXES)
def test_no_two_are_too_near_across_the_antimeridian_or_near_a_pole(
    box: tuple[float, float, float, float],
) -> None:
    west, width, south, north = box
    area = EARTH_RADIUS_KM**2 * math.radians(width) * np.diff(np.sin(np.radians([south, north])))[0]
    count = min(2000, int(0.03 * area))  # of at most about 0.045 at random
    lon, lat, again = place_all(band(*box), count, Taken(4.0))
    assert nearest_km(lon, lat) >= 4.0 - 1e-6
    assert again > 20, "the box is full enough for some to be refused"
    assert (lon >= -180).all() and (lon < 180).all()
    if west == 178:
        assert (lon > 170).any() and (lon < -170).any()


def test_it_is_the_greedy_list_that_comparing_all_pairs_gives() -> None:
    draw = band(179.5, 1, 60, 60.5)
    kept: list[tuple[float, float]] = []
    for place in range(150):
        for attempt in range(1000):
            lon, lat, _ = draw(np.array(place), np.array(attempt))
            point = unit_vectors(lon, lat)
            if all(great_circle_km(point, unit_vectors(*other)) >= 3.0 for other in kept):
                kept.append((float(lon), float(lat)))
                break
    lon, lat, _ = place_all(draw, 150, Taken(3.0))
    assert list(zip(lon.tolist(), lat.tolist(), strict=True)) == kept


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 120),
    batch=st.integers(1, 150),
    more=st.integers(0, 60),
    apart=st.floats(0.5, 12),
)
def test_any_split_of_the_work_and_any_longer_list_begin_alike(
    seed: int, count: int, batch: int, more: int, apart: float
) -> None:
    draw = around(np.array([0.0, 179.9]), np.array([0.0, 80.0]), 60.0, seed)
    lon, lat, _ = place_all(draw, count, Taken(apart))
    other_lon, other_lat, _ = place_all(draw, count + more, Taken(apart), batch=batch)
    assert lon.tolist() == other_lon[:count].tolist() and lat.tolist() == other_lat[:count].tolist()
    if count > 1:
        assert nearest_km(lon, lat) >= apart - 1e-6


def test_draws_of_no_use_are_passed_over() -> None:
    lon, lat, again = place_all(uniform_on_sphere(3, land=True), 400, Taken(0.0))
    from rsdata.land import is_land

    assert is_land(lon, lat).all() and again > 400 and np.abs(lat).max() <= 84


def test_places_keep_away_from_those_that_are_taken() -> None:
    taken, draw = Taken(5.0), band(179, 2, 10, 11)
    lon, lat, _ = place_all(draw, 100, Taken(0.0))
    assert taken.add(lon, lat) == 100
    new_lon, new_lat, _ = place_all(draw, 100, taken)
    old, new = unit_vectors(lon, lat), unit_vectors(new_lon, new_lat)
    assert great_circle_km(new[:, None], old[None]).min() >= 5.0


def test_no_room_is_said_with_numbers() -> None:
    draw = around(np.array([10.0]), np.array([50.0]), 5.0, 0)
    with pytest.raises(
        ConfigError, match=r"no room for 5,000 places: number \d+ found none in 1,000 draws .* 4 km"
    ):
        place_all(draw, 5000, Taken(4.0))


@pytest.mark.parametrize("lat", [0.0, 45.0, 60.0, 83.9])
def test_by_default_patches_cannot_touch_whatever_their_zones(lat: float) -> None:
    """Two squares as near as places may be, at all bearings and on both sides of a zone border."""
    from pyproj import Geod, Transformer
    from shapely import Polygon

    source = SeCo.build()
    half, snap = source.instrument.ground_m / 2, source.instrument.resolutions[-1] / 2
    geod = Geod(a=EARTH_RADIUS_KM * 1000, rf=math.inf)
    local = f"+proj=aeqd +lat_0={lat} +lon_0=6 +datum=WGS84"

    def square(lon: float, lat: float, east: float, north: float) -> Polygon:
        zone = Transformer.from_crs(4326, 32601 + int((lon + 180) // 6), always_xy=True)
        here = Transformer.from_crs(zone.target_crs, local, always_xy=True)
        x, y = zone.transform(lon, lat)
        corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
        return Polygon([here.transform(x + a + east * snap, y + b + north * snap) for a, b in corners])

    for bearing in range(0, 360, 15):
        lon, other, _ = geod.fwd(6.0, lat, bearing, source.apart_km * 1000)
        away = np.sign([math.sin(math.radians(bearing)), math.cos(math.radians(bearing))])
        assert not square(6.0, lat, *away).intersects(square(lon, other, *-away))
