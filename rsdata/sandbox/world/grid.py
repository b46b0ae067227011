"""Grid: a rectangle of pixels in any CRS; Ground: where on the sphere its pixels are."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from shards.errors import ConfigError

if TYPE_CHECKING:
    import pyproj

EARTH_RADIUS_M = 6_371_008.8
FACE_M = np.pi / 4 * EARTH_RADIUS_M
"""From the middle of a face of the cube to its edge, along the ground."""
STEP_BITS = 28
"""A coordinate on a face is a whole number of steps of 2**-28 of FACE_M, 1.9 cm."""
KNOT_PX = 8
"""Pixels between two knots; the projection is computed at knots and interpolated (error below 0.01 pixel)."""

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """A north-up rectangle of square pixels."""

    crs: str
    """`EPSG:32632`, `EPSG:4326`, …; axes are taken as x (east, lon), y (north, lat)."""
    x0: float
    """Left edge, CRS units."""
    y0: float
    """Top edge, CRS units."""
    res: float
    """Side of a pixel, CRS units (degrees in EPSG:4326)."""
    width: int
    height: int

    def __post_init__(self) -> None:
        if not (self.res > 0 and self.width > 0 and self.height > 0):
            raise ConfigError(
                f"grid: res, width and height must be above 0, found {self.res}, {self.width}, {self.height}"
            )
        if not (np.isfinite(self.x0) and np.isfinite(self.y0)):
            raise ConfigError(f"grid: x0 and y0 must be finite, found {self.x0}, {self.y0}")

    @classmethod
    def around(cls, lon: float, lat: float, res_m: float, size_px: int | tuple[int, int]) -> Self:
        """A grid in the UTM zone (near a pole: UPS) of a point, snapped to whole pixels, centred on it.

        Args:
            lon: degrees.
            lat: degrees.
            res_m: side of a pixel, metres.
            size_px: side, or (width, height).
        """
        width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
        crs = crs_for(lon, lat)
        x, y = (float(value) for value in transformer(crs).transform(lon, lat, direction="INVERSE"))
        x0 = round(x / res_m - width / 2) * res_m
        y0 = round(y / res_m + height / 2) * res_m
        return cls(crs, x0, y0, res_m, width, height)

    @property
    def res_m(self) -> float:
        """Side of a pixel in metres, north to south."""
        return self.res * np.radians(EARTH_RADIUS_M) if _is_geographic(self.crs) else self.res

    def lonlat(self, column: float | Float64, row: float | Float64) -> tuple[Float64, Float64]:
        """Longitude and latitude (degrees) of pixel coordinates; (0, 0) is the top left corner of the grid."""
        x = self.x0 + np.asarray(column, np.float64) * self.res
        y = self.y0 - np.asarray(row, np.float64) * self.res
        return _to_lonlat(self.crs, x, y)

    def pixel(self, lon: float | Float64, lat: float | Float64) -> tuple[Float64, Float64]:
        """Column and row (fractional) of points in degrees."""
        x, y = transformer(self.crs).transform(lon, lat, direction="INVERSE")
        return (np.asarray(x) - self.x0) / self.res, (self.y0 - np.asarray(y)) / self.res

    def padded(self, pixels: int) -> Grid:
        """The grid with a margin on every side."""
        return replace(
            self,
            x0=self.x0 - pixels * self.res,
            y0=self.y0 + pixels * self.res,
            width=self.width + 2 * pixels,
            height=self.height + 2 * pixels,
        )


def crs_for(lon: float, lat: float) -> str:
    """The UTM zone of a point (degrees), or UPS north of 84° and south of 80° S."""
    if lat > 84:
        return "EPSG:32661"
    if lat < -80:
        return "EPSG:32761"
    zone = int((lon + 180) % 360 // 6) + 1
    return f"EPSG:{32600 + zone if lat >= 0 else 32700 + zone}"


def utm_label(lon: float, lat: float) -> str:
    """Zone and latitude band as in fMoW's metadata: `32T`; A, B, Y, Z near the poles."""
    if lat > 84:
        return "Y" if lon < 0 else "Z"
    if lat < -80:
        return "A" if lon < 0 else "B"
    band = "CDEFGHJKLMNPQRSTUVWX"[min(int((lat + 80) // 8), 19)]
    return f"{int((lon + 180) % 360 // 6) + 1}{band}"


@dataclass
class Face:
    """The part of some ground that lies on one face of the cube."""

    axis: tuple[int, int]
    """Which axis of xyz the face is normal to, and on which side (-1 or 1)."""
    u_steps: NDArray[np.int32]
    """First of the other two axes, whole steps from the middle of the face."""
    v_steps: NDArray[np.int32]
    mask: NDArray[np.bool_] | None
    """Which points belong to the face; None when all do."""
    low: tuple[int, int]
    """Least steps of the points that belong."""
    high: tuple[int, int]
    lookups: dict[Any, Any] = field(default_factory=dict)
    """Kept by the noise: one entry a level."""

    @classmethod
    def of(cls, axis: tuple[int, int], u: Float64, v: Float64, mask: NDArray[np.bool_] | None) -> Self:
        """From coordinates of -1 to 1 over the face."""
        steps = [np.rint(np.clip(values, -1.5, 1.5) * 2.0**STEP_BITS).astype(np.int32) for values in (u, v)]
        inside = steps if mask is None else [values[mask] for values in steps]
        low, high = [int(values.min()) for values in inside], [int(values.max()) for values in inside]
        return cls(axis, steps[0], steps[1], mask, (low[0], low[1]), (high[0], high[1]))


@dataclass
class Ground:
    """Unit vectors of the points of a grid (or of its knots)."""

    xyz: Float64
    """[3, H, W]."""
    res_m: float
    faces: list[Face] = field(default_factory=list)
    parent: Ground | None = None
    weights: tuple[NDArray[np.int64], Float64, NDArray[np.int64], Float64] | None = None
    """Row index and weight, column index and weight, of each pixel among the knots."""

    @classmethod
    def of(cls, grid: Grid) -> Ground:
        """Project a grid: exactly at the knots, which lie at absolute multiples, and linearly between them."""
        step = grid.res * KNOT_PX
        columns, wx = _cells((grid.x0 + (np.arange(grid.width) + 0.5) * grid.res) / step)
        rows, wy = _cells((grid.y0 - (np.arange(grid.height) + 0.5) * grid.res) / step)
        kx = np.arange(columns.min(), columns.max() + 2)
        ky = np.arange(rows.min(), rows.max() + 2)
        x, y = np.meshgrid(kx * step, ky * step)
        lon, lat = _to_lonlat(grid.crs, x, y)
        knots = cls(to_xyz(lon, lat), grid.res_m * KNOT_PX)
        flat = _faces(knots.xyz)
        knots.faces = [Face.of(*face) for face in flat]
        ground = cls(np.empty(0), grid.res_m, parent=knots)
        ground.weights = (rows - ky[0], wy, columns - kx[0], wx)
        xyz = np.stack([ground._lerp(axis) for axis in knots.xyz])
        ground.xyz = xyz
        if len(flat) == 1:
            axis, u, v, _ = flat[0]
            ground.faces = [Face.of(axis, ground._lerp(u), ground._lerp(v), None)]
        else:
            ground.faces = [Face.of(*face) for face in _faces(xyz)]
        return ground

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.xyz.shape[1], self.xyz.shape[2]

    @property
    def knots(self) -> Ground:
        """The coarse ground this one was interpolated from."""
        assert self.parent is not None
        return self.parent

    def upsample(self, at_knots: NDArray[Any]) -> NDArray[np.float32]:
        """A field at the knots -> float32 [H, W] at the pixels."""
        import cv2

        values = np.ascontiguousarray(at_knots, np.float32)
        if self._whole is not None:
            low, left = self._whole
            height, width = values.shape
            full = cv2.resize(values, (width * KNOT_PX, height * KNOT_PX), interpolation=cv2.INTER_LINEAR)
            return np.ascontiguousarray(full[low : low + self.shape[0], left : left + self.shape[1]][::-1])
        cells, fraction = self._maps
        return np.asarray(
            cv2.remap(values, cells, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
        )

    @cached_property
    def _steps(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the pixels among the knots, in 1/32 of the way from one knot to the next."""
        assert self.weights is not None
        rows, wy, columns, wx = self.weights
        return np.rint((rows + wy) * 32).astype(np.int64), np.rint((columns + wx) * 32).astype(np.int64)

    @cached_property
    def _whole(self) -> tuple[int, int] | None:
        """Row of the last and column of the first pixel (rows run north in CRS, south in pictures) in the knots enlarged 8 times, where pixels lie at whole multiples."""
        y, x = self._steps
        if (y[0] - 2) % 4 or (x[0] - 2) % 4:
            return None
        return int(y[-1] - 2) // 4 + KNOT_PX // 2, int(x[0] - 2) // 4 + KNOT_PX // 2

    @cached_property
    def _maps(self) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
        """The weights as OpenCV's remap takes them; a pixel is 4/32 of the way, so none is rounded apart."""
        y, x = self._steps
        cells = np.empty((*self.shape, 2), np.int16)
        cells[..., 0], cells[..., 1] = x >> 5, (y >> 5)[:, None]
        return cells, ((y & 31)[:, None] * 32 + (x & 31)).astype(np.uint16)

    def _lerp(self, at_knots: NDArray[Any]) -> NDArray[Any]:
        assert self.weights is not None
        rows, wy, columns, wx = self.weights
        wy, wx = wy.astype(at_knots.dtype), wx.astype(at_knots.dtype)
        lines = at_knots[rows] * (1 - wy)[:, None] + at_knots[rows + 1] * wy[:, None]
        first = lines.take(columns, axis=1)
        second = lines.take(columns + 1, axis=1)
        second -= first
        second *= wx
        first += second
        return first

    def local(self, lon: float, lat: float) -> tuple[Float64, Float64]:
        """Metres east and north of a point, [H, W] each, in its tangent plane."""
        east, north = tangent(lon, lat)
        x, y, z = self.xyz
        return (
            (x * east[0] + y * east[1]) * EARTH_RADIUS_M,
            (x * north[0] + y * north[1] + z * north[2]) * EARTH_RADIUS_M,
        )


def to_xyz(lon: Float64, lat: Float64) -> Float64:
    """Degrees -> unit vectors, [3, …]."""
    lam, phi = np.radians(lon), np.radians(lat)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])


def tangent(lon: float, lat: float) -> tuple[Float64, Float64]:
    """Unit vectors to the east and the north at a point."""
    lam, phi = np.radians(lon), np.radians(lat)
    east = np.array([-np.sin(lam), np.cos(lam), 0.0])
    north = np.array([-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)])
    return east, north


def _cells(position: NDArray[Any]) -> tuple[NDArray[np.int64], Float64]:
    cell = np.floor(position)
    return cell.astype(np.int64), position - cell


def _faces(xyz: Float64) -> list[tuple[tuple[int, int], Float64, Float64, NDArray[np.bool_] | None]]:
    size = np.abs(xyz)
    axis = np.argmax(size, axis=0)
    side = np.take_along_axis(xyz, axis[None], 0)[0] > 0
    code = axis * 2 + side
    present = np.unique(code)
    faces = []
    for value in present:
        third, sign = int(value) // 2, 1 if value % 2 else -1
        mask = None if len(present) == 1 else code == value
        depth = np.maximum(xyz[third] * sign, 1e-9)
        u, v = (np.arctan2(xyz[other], depth) * (4 / np.pi) for other in range(3) if other != third)
        faces.append(((third, sign), u, v, mask))
    return faces


def transformer(crs: str) -> pyproj.Transformer:
    """From a CRS to degrees (axes x, y and lon, lat), of the calling thread.

    Raises:
        ConfigError: the CRS is not known.
    """
    return _transformer_of(crs, threading.get_ident())


@lru_cache(maxsize=2048)
def _transformer_of(crs: str, thread: int) -> pyproj.Transformer:
    # A transformer must not be used by two threads at once.
    import pyproj

    try:
        return pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    except pyproj.exceptions.CRSError:
        raise ConfigError(f"crs {crs!r} is not known; give one like EPSG:32632 or EPSG:4326") from None


@lru_cache(maxsize=512)
def _is_geographic(crs: str) -> bool:
    source = transformer(crs).source_crs
    return bool(source and source.is_geographic)


def _to_lonlat(crs: str, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    if _is_geographic(crs):
        return x, np.clip(y, -90, 90)
    lon, lat = transformer(crs).transform(x, y)
    lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    if not np.isfinite(lon).all():
        raise ConfigError(f"the grid leaves the area that {crs} can project; move it nearer to the zone")
    return lon, lat
