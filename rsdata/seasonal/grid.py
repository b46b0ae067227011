"""The grid of a place: a square in a scene's own CRS, snapped so that the pixels of all resolutions nest in it."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsdata.sensors import Sensor

Affine = tuple[float, float, float, float, float, float]
"""a, b, c, d, e, f: x = a column + b row + c, y = d column + e row + f, of the upper-left corner of a pixel."""


@dataclass(frozen=True)
class PatchGrid:
    """A square of ground in one CRS, the same for all seasons of a place."""

    crs: str
    """`EPSG:32633`."""
    side_m: int
    corners: tuple[tuple[int, float, float], ...]
    """Resolution in metres, x and y of the upper-left corner; the corners differ only where the grids do not nest."""

    def corner(self, gsd_m: int) -> tuple[float, float]:
        """Upper-left corner of the pixels of a resolution, metres."""
        return next((x, y) for gsd, x, y in self.corners if gsd == gsd_m)

    def side_px(self, gsd_m: int) -> int:
        """Side at a resolution, pixels."""
        return self.side_m // gsd_m

    def affine(self, gsd_m: int) -> Affine:
        """Of the pixels of a resolution."""
        x, y = self.corner(gsd_m)
        return (float(gsd_m), 0.0, x, 0.0, -float(gsd_m), y)

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top of all pixels of all resolutions, metres."""
        xs, ys = [x for _, x, _ in self.corners], [y for _, _, y in self.corners]
        return min(xs), min(ys) - self.side_m, max(xs) + self.side_m, max(ys)


def patch_grid(sensor: Sensor, crs: str, natives: Mapping[int, Affine], lon: float, lat: float) -> PatchGrid:
    """The square round a point, on the native pixels of each resolution.

    The corner falls on the grid of the coarsest resolution, then on that of each finer one (nowhere else, where they
    nest), so it lies at most half a coarsest pixel from where the point would have it in the middle.

    Args:
        sensor: which resolutions, and the side.
        crs: of the scene.
        natives: resolution -> affine of the scene's own grid.
        lon: of the middle, degrees.
        lat: of the middle, degrees.

    Raises:
        ValueError: the point has no place in this CRS.
    """
    x, y = to_crs(crs, [(lon, lat)])[0]
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(f"{lon:g}, {lat:g} has no place in {crs}")
    x, y = x - sensor.ground_m / 2, y + sensor.ground_m / 2
    corners = []
    for gsd in reversed(sensor.resolutions):
        native = natives[gsd]
        x, y = _snap(x, native[2], gsd), _snap(y, native[5], gsd)
        corners.append((gsd, x, y))
    return PatchGrid(crs, sensor.ground_m, tuple(reversed(corners)))


def on_grid(grid: PatchGrid, natives: Mapping[int, Affine]) -> bool:
    """Whether a scene's own pixels are those of the grid, so that nothing is resampled."""
    for gsd, x, y in grid.corners:
        native = natives[gsd]
        if (native[0], native[1], native[3], native[4]) != (gsd, 0, 0, -gsd):
            return False
        if (x - native[2]) % gsd or (y - native[5]) % gsd:
            return False
    return True


def native_crs(lon: float, lat: float) -> str:
    """The UTM zone in which a point lies by its longitude."""
    zone = int((lon + 180) // 6) % 60 + 1
    return f"EPSG:{(32600 if lat >= 0 else 32700) + zone}"


def to_crs(crs: str, points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Degrees to a projected CRS; infinite where a point has no place in it.

    Raises:
        ValueError: there is no such CRS.
    """
    xs, ys = _transformer(crs).transform([p[0] for p in points], [p[1] for p in points])
    return list(zip(xs, ys, strict=True))


def _snap(value: float, origin: float, step: float) -> float:
    return origin + math.floor((value - origin) / step + 0.5) * step


_local = threading.local()


def _transformer(crs: str) -> Any:
    """From WGS84; one for each thread, because PROJ's objects are not shared."""
    known: dict[str, Any] = _local.__dict__.setdefault("transformers", {})
    if crs not in known:
        from pyproj import Transformer
        from pyproj.exceptions import CRSError, ProjError

        try:
            known[crs] = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        except (CRSError, ProjError) as error:
            raise ValueError(f"{crs}: is not a known CRS") from error
    return known[crs]
