"""SpaceNet 7: the countries of its 60 training areas as the city study labelled them, and where an area's name lies.

Labels are positions in the list of countries, which the study sorted by their names in local script; so the order below
is fixed and has no meaning in English. It depends on no geocoder and on no language.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_TILE = re.compile(r"L15-\d{4}E-\d{4}N_(\d+)_(\d+)_13\Z")
_ZOOM = 13


class Country(NamedTuple):
    """One label."""

    iso: str
    """ISO 3166-1 alpha-2."""
    name: str
    """In English."""
    images: int
    """Training images in the release."""
    areas: tuple[str, ...]


_ROWS = (
    ("DZ", "Algeria", 25, "0977E-1187N_3911_3441"),
    ("AU", "Australia", 25, "1848E-0793N_7394_5018"),
    ("BR", "Brazil", 47, "0683E-1006N_2732_4164 0760E-0887N_3041_4643"),
    ("CL", "Chile", 25, "0632E-0892N_2528_4620"),
    ("GH", "Ghana", 18, "1015E-1062N_4061_3941"),
    ("IN", "India", 87, "1438E-1134N_5753_3655 1439E-1134N_5759_3655 1479E-1101N_5916_3785 1481E-1119N_5927_3715"),
    ("JM", "Jamaica", 25, "0586E-1127N_2345_3680"),
    ("MX", "Mexico", 24, "0457E-1135N_1831_3648"),
    ("NL", "Netherlands", 25, "1049E-1370N_4196_2710"),
    ("UZ", "Uzbekistan", 24, "1389E-1284N_5557_3054"),
    ("PA", "Panama", 20, "0571E-1075N_2287_3888"),
    ("PE", "Peru", 21, "0614E-0946N_2459_4406"),
    ("PH", "Philippines", 22, "1709E-1112N_6838_3742"),
    ("RO", "Romania", 24, "1172E-1306N_4688_2967"),
    ("ZA", "South Africa", 24, "1200E-0847N_4802_4803"),
    ("SN", "Senegal", 23, "0924E-1108N_3699_3757"),
    ("UG", "Uganda", 23, "1210E-1025N_4840_4088"),
    ("GB", "United Kingdom", 48, "1014E-1375N_4056_2688 1025E-1366N_4102_2726"),
    ("US", "United States", 309, "0331E-1257N_1327_3160 0357E-1223N_1429_3296 0358E-1220N_1433_3310 0361E-1300N_1446_2989 0368E-1245N_1474_3210 0387E-1276N_1549_3087 0434E-1218N_1736_3318 0487E-1246N_1950_3207 0506E-1204N_2027_3374 0544E-1228N_2176_3279 0566E-1185N_2265_3451 0577E-1243N_2309_3217 0595E-1278N_2383_3079"),
    ("ZM", "Zambia", 24, "1185E-0935N_4742_4450"),
    ("RU", "Russia", 24, "1298E-1322N_5193_2903"),
    ("AE", "United Arab Emirates", 25, "1335E-1166N_5342_3524"),
    ("SA", "Saudi Arabia", 25, "1289E-1169N_5156_3514"),
    ("SD", "Sudan", 25, "1209E-1113N_4838_3737"),
    ("KW", "Kuwait", 25, "1296E-1198N_5184_3399"),
    ("YE", "Yemen", 25, "1276E-1107N_5105_3761"),
    ("LY", "Libya", 25, "1138E-1216N_4553_3325"),
    ("EG", "Egypt", 77, "1203E-1203N_4815_3378 1204E-1202N_4816_3380 1204E-1204N_4819_3372"),
    ("BD", "Bangladesh", 20, "1538E-1163N_6154_3539"),
    ("CN", "China", 264, "1615E-1205N_6460_3370 1615E-1206N_6460_3366 1617E-1207N_6468_3360 1669E-1153N_6678_3579 1669E-1160N_6678_3548 1669E-1160N_6679_3549 1672E-1207N_6691_3363 1690E-1211N_6763_3346 1691E-1211N_6764_3347 1703E-1219N_6813_3313 1716E-1211N_6864_3345"),
    ("KR", "South Korea", 25, "1748E-1247N_6993_3202"),
)  # fmt: skip

COUNTRIES: tuple[Country, ...] = tuple(
    Country(iso, name, images, tuple(f"L15-{area}_13" for area in areas.split()))
    for iso, name, images, areas in _ROWS
)
"""31 countries, 60 areas, 1,423 images; a country's label is its position."""

FROZEN: dict[str, Country] = {area: country for country in COUNTRIES for area in country.areas}
"""Training area -> its country."""

TRAIN_IMAGES, TEST_IMAGES, TEST_AREAS = 1423, 466, 20
"""Of the release."""


def tile_centre(area: str) -> tuple[float, float] | None:
    """Longitude and latitude of the middle of the Web Mercator tile (zoom 13) that an area's name ends in.

    A check, not a source of coordinates: rasters say where they lie. None for any other name.
    """
    match = _TILE.match(area)
    if match is None:
        return None
    x, y = (int(number) + 0.5 for number in match.groups())
    side = 2**_ZOOM
    if not (x < side and y < side):
        return None
    return x / side * 360 - 180, math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * y / side))))
