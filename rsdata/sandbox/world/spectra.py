"""What each material looks like in each band: a small table, interpolated over wavelength."""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shards.errors import ConfigError

BANDS: dict[str, float] = {
    "coastal": 443,
    "blue": 492,
    "green": 560,
    "red": 665,
    "rededge1": 704,
    "rededge2": 740,
    "rededge3": 783,
    "nir": 833,
    "nir08": 865,
    "watervapour": 945,
    "cirrus": 1375,
    "swir1": 1610,
    "swir2": 2190,
    "vv": 0,
    "vh": 0,
}
"""Band -> central wavelength in nm, named as in the STAC `eo` extension; 0 for radar polarisations (C band)."""


class Material(IntEnum):
    """What a pixel is made of."""

    WATER = 0
    TURBID = 1
    SAND = 2
    ROCK = 3
    SOIL = 4
    GRASS = 5
    SHRUB = 6
    BROADLEAF = 7
    CONIFER = 8
    CROP = 9
    WETLAND = 10
    ICE = 11
    ASPHALT = 12
    CONCRETE = 13
    ROOF_RED = 14
    ROOF_GREY = 15
    ROOF_WHITE = 16
    ROOF_BLUE = 17
    ROOF_BROWN = 18
    SOLAR = 19
    TURF = 20
    POOL = 21
    PAINT = 22
    RUST = 23
    TRACK = 24
    METAL = 25
    GRAVEL = 26
    ROOF_DARK = 27
    TOWN_WARM = 28
    TOWN_GREY = 29
    TOWN_PALE = 30


COVER = ("water", "bare", "grass", "shrub", "broadleaf", "conifer", "crop", "wetland", "ice", "built")
"""Land-cover classes, in the order of the codes of `World.landcover`."""

COVER_OF = np.array(
    [0, 0, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9, 9, 9, 2, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9], np.uint8
)
"""Material -> position in COVER."""

_NM = np.array([440, 490, 560, 665, 705, 740, 835, 1610, 2190])
# Percent reflectance at _NM, then VV and VH in dB. Magnitudes after the USGS and ECOSTRESS spectral libraries, rounded.
_TABLE: dict[Material, tuple[float, ...]] = {
    Material.WATER: (4, 3.6, 2.9, 1.3, 1, 0.8, 0.6, 0.2, 0.1, -22, -29),
    Material.TURBID: (5, 6, 7.5, 5.5, 4.5, 3, 2, 0.4, 0.2, -20, -27),
    Material.SAND: (13, 17, 23, 30, 32, 33, 35, 44, 40, -16, -25),
    Material.ROCK: (9, 10.5, 12.5, 14.5, 15, 16, 18, 23, 21, -10, -18),
    Material.SOIL: (6.5, 8, 10.5, 14, 15.5, 17, 21, 30, 26, -13, -21),
    Material.GRASS: (5, 6.5, 10, 12.5, 14, 16, 21, 30, 22, -12, -19),
    Material.SHRUB: (4.5, 5.5, 8, 9.5, 11.5, 15, 19, 25, 18, -11, -17),
    Material.BROADLEAF: (3.5, 4.4, 6, 7, 8.5, 12, 16, 19, 13, -9, -15),
    Material.CONIFER: (2, 2.4, 3.6, 2.6, 4.5, 11, 17, 9, 4.5, -9, -14),
    Material.CROP: (7, 8.8, 12, 15.5, 17, 19, 24, 32, 26, -12, -19),
    Material.WETLAND: (3, 4, 6, 5.5, 7, 11, 15, 12, 7, -9, -15),
    Material.ICE: (82, 84, 84, 81, 79, 77, 70, 9, 6, -12, -20),
    Material.ASPHALT: (6.5, 7.5, 8.5, 9.3, 9.8, 10, 11, 13, 13, -15, -24),
    Material.CONCRETE: (17, 20, 23.5, 26, 27, 28, 30, 34, 31, -10, -20),
    Material.ROOF_RED: (6, 7.5, 11, 22, 24, 25, 27, 30, 26, -4, -13),
    Material.ROOF_GREY: (13, 14.5, 16, 17, 17.5, 18, 19, 21, 20, -4, -13),
    Material.ROOF_WHITE: (38, 42, 46, 48, 48, 48, 47, 42, 36, -4, -13),
    Material.ROOF_BLUE: (18, 23, 19, 13, 13, 14, 20, 24, 22, -3, -12),
    Material.ROOF_BROWN: (6, 8, 11.5, 15.5, 17, 18, 21, 25, 21, -5, -14),
    Material.SOLAR: (4.5, 5, 4, 3.4, 3.5, 4, 6, 8, 6, -6, -17),
    Material.TURF: (2.5, 3.2, 8, 4, 11, 30, 41, 20, 9, -13, -20),
    Material.POOL: (22, 30, 29, 9, 6, 4, 2, 0.5, 0.3, -20, -28),
    Material.PAINT: (50, 56, 60, 62, 62, 62, 60, 50, 42, -8, -17),
    Material.RUST: (6, 7, 9, 20, 22, 24, 27, 30, 27, -2, -11),
    Material.TRACK: (7, 7.5, 9, 24, 26, 27, 29, 30, 26, -14, -23),
    Material.METAL: (29, 32, 35, 36, 36, 36, 36, 34, 31, 0, -9),
    Material.GRAVEL: (12, 14.5, 17.5, 20, 21, 21.5, 23, 28, 26, -11, -20),
    Material.TOWN_WARM: (8, 9.5, 12, 16, 17, 19, 22, 24, 21, -5, -13),
    Material.TOWN_GREY: (10, 11.5, 13, 14, 15, 17, 20, 21, 19, -4, -12),
    Material.TOWN_PALE: (16, 18.5, 21.5, 24.5, 25.5, 26.5, 29, 32, 28, -5, -14),
    Material.ROOF_DARK: (5, 5.5, 6, 6.2, 6.4, 6.6, 7, 9, 9, -4, -13),
}
# What full growth adds to the dry or leafless state above.
_GREEN: dict[Material, tuple[float, ...]] = {
    Material.GRASS: (-2, -2.6, -1.5, -7.5, -4, 11, 17, -8, -10, 0.5, 1),
    Material.SHRUB: (-2, -2.2, -1.7, -5, -3, 8, 13, -6, -8, 0.5, 1),
    Material.BROADLEAF: (-1.4, -1.8, -0.4, -4, 0, 15, 24, -1, -5, 0.5, 1.5),
    Material.CROP: (-4.3, -5.4, -4, -11.8, -5, 16, 24, -12, -17, 2, 4),
    Material.WETLAND: (-1, -1.3, -0.2, -2, 0, 11, 17, 3, 0, 1, 1),
    Material.CONIFER: (0, 0, 0.4, 0, 0.5, 3, 5, 1, 0, 0, 0),
}
# What a fully red (tropical, weathered) ground adds.
_RED: dict[Material, tuple[float, ...]] = {
    Material.SAND: (-5, -6, -4, 5, 6, 6, 6, 4, 2, 0, 0),
    Material.ROCK: (-3, -3, -1, 6, 7, 7, 7, 5, 3, 0, 0),
    Material.SOIL: (-3, -3.3, -1.5, 9, 10, 10, 9, 5, 2, 0, 0),
    Material.CROP: (-2.5, -2.8, -2, 5, 6, 6, 6, 3, 1, 0, 0),
    Material.GRASS: (-0.5, -0.6, 0, 2, 2, 2, 2, 1, 0, 0, 0),
    Material.GRAVEL: (-3, -3, -1, 4, 4, 4, 4, 2, 1, 0, 0),
}
SNOW = Material.ICE


@lru_cache(maxsize=64)
def band_tables(band: str) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Reflectance (radar: dB) of each material, what green adds, what red ground adds; float32 [256] each.

    Raises:
        ConfigError: the band is not known.
    """
    if band not in BANDS:
        raise ConfigError(f"band {band!r} is not known; known: {', '.join(BANDS)}")
    out = []
    for table in (_TABLE, _GREEN, _RED):
        values = np.zeros(256, np.float32)
        for material, row in table.items():
            if band in ("vv", "vh"):
                values[material] = row[-2 if band == "vv" else -1]
            else:
                values[material] = np.interp(BANDS[band], _NM, row[:-2]) / 100 * _gas(band)
        values.setflags(write=False)
        out.append(values)
    return out[0], out[1], out[2]


def _gas(band: str) -> float:
    """Share of light that water vapour lets through."""
    return {"watervapour": 0.45, "cirrus": 0.01}.get(band, 1.0)


def path_radiance(band: str) -> float:
    """Reflectance that a full haze shows; bluer light is scattered more."""
    nm = BANDS[band]
    return 0.0 if nm == 0 else float(0.34 * (nm / 560) ** -0.9) * _gas(band)
