"""What the satellites of the embedded planet deliver: orbits, bands, collections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Orbit:
    """A sun-synchronous ground pattern: `tracks` strips, each flown once in `days`."""

    tracks: int
    days: int
    phase: int
    """Track k is flown on days with (day + step * k + phase) % days == 0."""
    step: int
    swath_km: float
    hour: float
    """Local solar time of a pass."""

    def centre(self, track: int, lat: float) -> float:
        """Longitude (degrees, not wrapped) of a track at a latitude: a descending path leans to the west."""
        return -180 + 360 * track / self.tracks + 0.26 * lat

    def start(self, track: int, day: int) -> int:
        """Milliseconds since 1970 at which the track begins on a (local) day."""
        lon = (self.centre(track, 0) + 180) % 360 - 180
        second = (day * 7919 + track * 104_729) % 600
        return day * DAY_MS + round((self.hour - lon / 15) * 3600 + second) * 1000

    def flown(self, track: int, day: int) -> bool:
        """Whether a satellite passes on that day."""
        return (day + self.step * track + self.phase) % self.days == 0


@dataclass(frozen=True)
class Band:
    """A band as delivered."""

    name: str
    gsd_m: int
    world: str
    """Band of the world, or what is derived from it: pan, kelvin, clouds, classes, qa60, qa_pixel, opaque, cirrus_px."""
    dtype: str = "uint16"


@dataclass(frozen=True)
class Product:
    """One product: what a scene of it is."""

    kind: str
    orbit: Orbit
    bands: tuple[Band, ...]
    since: int
    """First scene, milliseconds since 1970."""
    tiled: bool = False
    """Cut into the 109.8 km tiles of the MGRS; otherwise into frames along the track."""

    def band(self, name: str) -> Band:
        """By name.

        Raises:
            KeyError: it has no such band.
        """
        for band in self.bands:
            if band.name == name:
                return band
        raise KeyError(name)


def _ms(year: int, month: int, day: int) -> int:
    return round(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


HARMONISED_FROM = _ms(2022, 1, 25)
"""From here on the numbers of the collections without HARMONIZED are 1000 higher."""
NO_QA60 = (_ms(2022, 1, 25), _ms(2024, 2, 28))
"""Between these QA60 was not produced."""

_S2 = {
    "B1": (60, "coastal"),
    "B2": (10, "blue"),
    "B3": (10, "green"),
    "B4": (10, "red"),
    "B5": (20, "rededge1"),
    "B6": (20, "rededge2"),
    "B7": (20, "rededge3"),
    "B8": (10, "nir"),
    "B8A": (20, "nir08"),
    "B9": (60, "watervapour"),
    "B10": (60, "cirrus"),
    "B11": (20, "swir1"),
    "B12": (20, "swir2"),
}
_OLI = {
    "B1": (30, "coastal"),
    "B2": (30, "blue"),
    "B3": (30, "green"),
    "B4": (30, "red"),
    "B5": (30, "nir"),
    "B6": (30, "swir1"),
    "B7": (30, "swir2"),
    "B8": (15, "pan"),
    "B9": (30, "cirrus"),
    "B10": (30, "kelvin"),
    "B11": (30, "kelvin"),
}
_QA60 = Band("QA60", 60, "qa60")
_MSI = tuple(Band(name, *row) for name, row in _S2.items())
_S2_ORBIT = Orbit(143, 5, 0, 3, 290, 10.5)
_L2A_EXTRA = (
    Band("SCL", 20, "classes", "uint8"),
    Band("MSK_CLDPRB", 20, "clouds", "uint8"),
    _QA60,
    Band("MSK_CLASSI_OPAQUE", 60, "opaque", "uint8"),
    Band("MSK_CLASSI_CIRRUS", 60, "cirrus_px", "uint8"),
)
_LANDSAT_BANDS = (
    *(Band(name, gsd, world, "float32") for name, (gsd, world) in _OLI.items()),
    Band("QA_PIXEL", 30, "qa_pixel"),
)

PRODUCTS = {
    product.kind: product
    for product in (
        Product(
            "s2-l2a",
            _S2_ORBIT,
            (*(band for band in _MSI if band.name != "B10"), *_L2A_EXTRA),
            _ms(2017, 3, 28),
            True,
        ),
        Product("s2-l1c", _S2_ORBIT, (*_MSI, _QA60), _ms(2015, 6, 27), True),
        Product(
            "s2-clouds", _S2_ORBIT, (Band("probability", 10, "clouds", "uint8"),), _ms(2015, 6, 27), True
        ),
        Product(
            "s1-grd",
            Orbit(175, 6, 0, 5, 250, 6.0),
            (Band("VV", 10, "vv", "float32"), Band("VH", 10, "vh", "float32")),
            _ms(2014, 10, 3),
        ),
        Product("landsat-8", Orbit(233, 16, 0, 7, 185, 10.2), _LANDSAT_BANDS, _ms(2013, 3, 18)),
        Product("landsat-9", Orbit(233, 16, 8, 7, 185, 10.2), _LANDSAT_BANDS, _ms(2021, 10, 31)),
    )
}

COLLECTIONS = {
    "COPERNICUS/S2_SR_HARMONIZED": "s2-l2a",
    "COPERNICUS/S2_SR": "s2-l2a",
    "COPERNICUS/S2_HARMONIZED": "s2-l1c",
    "COPERNICUS/S2": "s2-l1c",
    "COPERNICUS/S2_CLOUD_PROBABILITY": "s2-clouds",
    "COPERNICUS/S1_GRD": "s1-grd",
    "LANDSAT/LC08/C02/T1_TOA": "landsat-8",
    "LANDSAT/LC09/C02/T1_TOA": "landsat-9",
}
"""Names of Earth Engine -> product."""
