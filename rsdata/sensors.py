"""Sensors by table: what is fetched, from which collection, with which bands. A new sensor is one more row.

Stands on the standard library alone: options and plans read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Operator = Literal["equals", "contains"]


@dataclass(frozen=True)
class SensorBand:
    """One band as the collection names it."""

    name: str
    gsd_m: int
    """Of its own grid, metres a pixel."""
    wavelength_nm: float | None
    """Centre; None for radar and masks."""
    unit: str
    asset: str = ""
    """Its name in a STAC item; empty where the collection is not read through STAC."""


@dataclass(frozen=True)
class CloudMask:
    """How one band tells which pixels of a patch are cloudy."""

    band: str
    gsd_m: int
    classes: tuple[int, ...] = ()
    """Cloudy where the value is one of these."""
    bits: tuple[int, ...] = ()
    """Cloudy where one of these bits is set."""
    above: int | None = None
    """Cloudy where the value, a probability in percent, is larger."""
    collection: str = ""
    """The collection that holds it under the same scene ids; empty where it is a band of the scene itself."""
    asset: str = ""


@dataclass(frozen=True)
class Sensor:
    """One product of one instrument."""

    kind: str
    title: str
    collection: str
    """Of Earth Engine."""
    legacy_collection: str
    """What the published sets were drawn from."""
    bands: tuple[SensorBand, ...]
    dtype: Literal["uint16", "int16", "float32"]
    """Of the stored pixels, numpy's name."""
    cloud_property: str | None
    """Scene property that holds its clouds in percent; None where clouds do not matter."""
    licence: str
    attribution: str
    stac_collection: str | None = None
    stac_cloud_property: str = "eo:cloud_cover"
    filters: tuple[tuple[str, Operator, str], ...] = ()
    """Scenes that are taken at all: property, operator, value."""
    cloud_mask: CloudMask | None = None
    offset: int = 0
    """Added to the numbers of the legacy collection from `offset_from` on; the collection itself is harmonised."""
    offset_from: str | None = None
    side_px: int = 264
    """Of a patch, at the finest resolution."""
    nested: bool = True
    """Whether the grids of all resolutions share their corners, so that coarse pixels hold whole fine ones."""

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Metres a pixel, finest first."""
        return tuple(sorted({band.gsd_m for band in self.bands}))

    @property
    def finest_m(self) -> int:
        """Metres a pixel of the finest band."""
        return self.resolutions[0]

    @property
    def ground_m(self) -> int:
        """Side of a patch on the ground, metres."""
        return self.side_px * self.finest_m

    def bands_at(self, gsd_m: int) -> tuple[SensorBand, ...]:
        """The bands of one resolution, in order."""
        return tuple(band for band in self.bands if band.gsd_m == gsd_m)

    def side_at(self, gsd_m: int) -> int:
        """Side of a patch at a resolution, pixels."""
        return self.ground_m // gsd_m

    @property
    def pixel_requests(self) -> int:
        """Requests to Earth Engine for the pixels of one scene (nested grids come in one)."""
        return 1 if self.nested else len(self.resolutions)

    @property
    def pixel_bytes(self) -> int:
        """Bytes that Earth Engine sends for one scene: every band of a request comes on its finest grid."""
        size = {"uint16": 2, "int16": 2, "float32": 4}[self.dtype]
        sides = [self.side_px if self.nested else self.side_at(band.gsd_m) for band in self.bands]
        return size * sum(side * side for side in sides)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the pixels of one scene before compression."""
        size = {"uint16": 2, "int16": 2, "float32": 4}[self.dtype]
        return size * sum(self.side_at(band.gsd_m) ** 2 for band in self.bands)


_S2_BANDS = {
    "B1": (60, 442.7, "coastal"),
    "B2": (10, 492.4, "blue"),
    "B3": (10, 559.8, "green"),
    "B4": (10, 664.6, "red"),
    "B5": (20, 704.1, "rededge1"),
    "B6": (20, 740.5, "rededge2"),
    "B7": (20, 782.8, "rededge3"),
    "B8": (10, 832.8, "nir"),
    "B8A": (20, 864.7, "nir08"),
    "B9": (60, 945.1, "nir09"),
    "B10": (60, 1373.5, "cirrus"),
    "B11": (20, 1613.7, "swir16"),
    "B12": (20, 2202.4, "swir22"),
}
"""Sentinel-2A: metres a pixel, centre in nanometres, name of the asset in Earth Search."""

_LANDSAT_BANDS = {
    "B1": (30, 442.96),
    "B2": (30, 482.04),
    "B3": (30, 561.41),
    "B4": (30, 654.59),
    "B5": (30, 864.67),
    "B6": (30, 1608.86),
    "B7": (30, 2200.73),
    "B8": (15, 589.5),
    "B9": (30, 1373.43),
    "B10": (30, 10895.0),
    "B11": (30, 12005.0),
}
"""OLI and TIRS: metres a pixel, centre in nanometres; the thermal bands are delivered at 30 m."""

_COPERNICUS = "Copernicus Sentinel data terms: free, full and open access with attribution"


def _sentinel_2(names: list[str]) -> tuple[SensorBand, ...]:
    rows = {name: _S2_BANDS[name] for name in names}
    return tuple(
        SensorBand(name, gsd, nm, "reflectance x 10000", asset) for name, (gsd, nm, asset) in rows.items()
    )


def _landsat(number: int) -> Sensor:
    return Sensor(
        kind=f"landsat-{number}",
        title=f"Landsat {number} OLI/TIRS, top of atmosphere",
        collection=f"LANDSAT/LC0{number}/C02/T1_TOA",
        legacy_collection=f"LANDSAT/LC0{number}/C02/T1_TOA",
        bands=tuple(
            SensorBand(name, gsd, nm, "kelvin" if nm > 10_000 else "reflectance")
            for name, (gsd, nm) in _LANDSAT_BANDS.items()
        ),
        dtype="float32",
        cloud_property="CLOUD_COVER",
        cloud_mask=CloudMask("QA_PIXEL", 30, bits=(1, 2, 3, 4)),
        licence="public domain (U.S. Geological Survey)",
        attribution="Landsat imagery courtesy of the U.S. Geological Survey",
        nested=False,
    )


_ROWS = [
    Sensor(
        kind="s2-l2a",
        title="Sentinel-2 level 2A, surface reflectance, harmonised",
        collection="COPERNICUS/S2_SR_HARMONIZED",
        legacy_collection="COPERNICUS/S2_SR",
        stac_collection="sentinel-2-l2a",
        bands=_sentinel_2([name for name in _S2_BANDS if name != "B10"]),
        dtype="uint16",
        cloud_property="CLOUDY_PIXEL_PERCENTAGE",
        cloud_mask=CloudMask("SCL", 20, classes=(3, 8, 9, 10), asset="scl"),
        licence=_COPERNICUS,
        attribution="contains modified Copernicus Sentinel-2 data",
        offset=1000,
        offset_from="2022-01-25",
    ),
    Sensor(
        kind="s2-l1c",
        title="Sentinel-2 level 1C, top of atmosphere reflectance, harmonised",
        collection="COPERNICUS/S2_HARMONIZED",
        legacy_collection="COPERNICUS/S2",
        bands=_sentinel_2(list(_S2_BANDS)),
        dtype="uint16",
        cloud_property="CLOUDY_PIXEL_PERCENTAGE",
        cloud_mask=CloudMask("probability", 10, above=50, collection="COPERNICUS/S2_CLOUD_PROBABILITY"),
        licence=_COPERNICUS,
        attribution="contains modified Copernicus Sentinel-2 data",
        offset=1000,
        offset_from="2022-01-25",
    ),
    Sensor(
        kind="s1-grd",
        title="Sentinel-1 GRD, backscatter in decibels",
        collection="COPERNICUS/S1_GRD",
        legacy_collection="COPERNICUS/S1_GRD",
        bands=(SensorBand("VV", 10, None, "dB"), SensorBand("VH", 10, None, "dB")),
        dtype="float32",
        cloud_property=None,
        filters=(
            ("instrumentMode", "equals", "IW"),
            ("transmitterReceiverPolarisation", "contains", "VV"),
            ("transmitterReceiverPolarisation", "contains", "VH"),
        ),
        licence=_COPERNICUS,
        attribution="contains modified Copernicus Sentinel-1 data",
    ),
    _landsat(8),
    _landsat(9),
]

SENSORS: dict[str, Sensor] = {row.kind: row for row in _ROWS}
