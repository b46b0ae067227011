"""Site: one functional place; what its class is, where its corners are, how it is painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rsdata.sandbox.sites import civic, industry, open_land
from rsdata.sandbox.sites.pen import Pen
from rsdata.sandbox.world.canvas import Canvas
from rsdata.sandbox.world.cities import STYLES, Style, cities
from rsdata.sandbox.world.grid import EARTH_RADIUS_M, to_xyz
from shards.errors import ConfigError
from shards.random import uniform

_SITE = 601

FUNCTIONS: dict[str, tuple[float, float, Callable[[Pen], None]]] = {
    "airport": (620, 330, civic.airport),
    "crop_field": (190, 130, open_land.crop_field),
    "golf_course": (360, 260, open_land.golf_course),
    "lake_or_pond": (150, 110, open_land.lake_or_pond),
    "parking_lot_or_garage": (85, 60, civic.parking_lot),
    "port": (330, 240, industry.port),
    "solar_farm": (210, 150, industry.solar_farm),
    "stadium": (120, 95, civic.stadium),
    "water_treatment_facility": (110, 80, industry.water_treatment),
    "race_track": (330, 170, civic.race_track),
    "surface_mine": (340, 260, industry.surface_mine),
    "wind_farm": (420, 300, industry.wind_farm),
    "storage_tank": (90, 70, industry.storage_tank),
    "multi-unit_residential": (120, 90, civic.slabs),
    "single-unit_residential": (45, 35, civic.houses),
    "swimming_pool": (26, 18, civic.swimming_pool),
}
"""fMoW class -> half length and half width in metres, and the painter."""


@dataclass(frozen=True)
class Site:
    """A functional place, the same whatever grid or date it is seen on."""

    function: str
    """A key of FUNCTIONS."""
    lon: float
    lat: float
    key: int
    """Address of its pose, size and details."""

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ConfigError(f"site: class {self.function!r} is not known; known: {', '.join(FUNCTIONS)}")

    @cached_property
    def draws(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """32 numbers in [0, 1) that decide all of it."""
        drawn = uniform(self.key, _SITE, count=32)
        assert drawn.ndim == 1
        return drawn

    @property
    def half_m(self) -> tuple[float, float]:
        """Half length and half width, metres."""
        length, width, _ = FUNCTIONS[self.function]
        size = 0.7 * 2.0 ** (1.1 * float(self.draws[0]))
        stretch = 0.85 + 0.3 * float(self.draws[1])
        return length * size * stretch, width * size / stretch

    @property
    def turn(self) -> float:
        """Direction of its length, radians from east towards north."""
        return float(self.draws[2]) * np.pi

    @property
    def style(self) -> Style:
        """That of the nearest city."""
        known = cities()
        return STYLES[known.style[known.nearest(to_xyz(np.asarray(self.lon), np.asarray(self.lat)))]]

    def corners(self) -> list[tuple[float, float]]:
        """Its four corners, lon and lat in degrees."""
        length, width = self.half_m
        c, s = np.cos(self.turn), np.sin(self.turn)
        out = []
        for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
            east, north = i * length * c - j * width * s, i * length * s + j * width * c
            lat = self.lat + np.degrees(north / EARTH_RADIUS_M)
            out.append(
                (
                    float(self.lon + np.degrees(east / EARTH_RADIUS_M) / np.cos(np.radians(self.lat))),
                    float(lat),
                )
            )
        return out

    def paint(self, canvas: Canvas) -> None:
        """Draw it on a canvas."""
        east, north = canvas.ground.local(self.lon, self.lat)
        c, s = np.cos(self.turn), np.sin(self.turn)
        a = (east * c + north * s).astype(np.float32)
        b = (north * c - east * s).astype(np.float32)
        length, width = self.half_m
        pen = Pen(canvas, a, b, length, width, self.style, self.draws[3:], self.key)
        FUNCTIONS[self.function][2](pen)
