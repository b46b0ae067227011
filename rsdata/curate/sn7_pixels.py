"""An image of SpaceNet 7 and its 16 patches: read whole and once, padded, cut row by row.

Images are 8-bit RGB and alpha (validity, not near infrared), 1024 x 1024 px or a row or column less; the missing ones are
zeros at the right and at the bottom. Patch k covers rows 256 * (k // 4) on and columns 256 * (k % 4) on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

SIDE, TILE = 1024, 256
ACROSS = SIDE // TILE
PATCHES = ACROSS**2
_NAME = "image.tif"
_SLACK = 1
"""Rows or columns that may be missing or too many."""


@dataclass(frozen=True)
class Picture:
    """One month of an area."""

    rgb: NDArray[np.uint8]
    """[1024, 1024, 3]."""
    alpha: NDArray[np.uint8]
    """[1024, 1024]; 0 where nothing was seen, and in the padding."""

    @cached_property
    def black(self) -> NDArray[np.float64]:
        """Share of each patch that is exactly black or not valid, [16]."""
        red, green, blue = (self.rgb[..., band] for band in range(3))
        return shares(((red | green | blue) == 0) | (self.alpha == 0))

    @cached_property
    def valid(self) -> NDArray[np.float64]:
        """Share of each patch that alpha calls valid, [16]."""
        return shares(self.alpha != 0)

    def patch(self, k: int) -> NDArray[np.uint8]:
        """RGB [256, 256, 3]."""
        return patch_of(self.rgb, k)


@dataclass(frozen=True)
class Footprint:
    """Where an image lies."""

    crs: str
    transform: tuple[float, float, float, float, float, float]
    """Affine: x = a*column + b*row + c, y = d*column + e*row + f."""
    width: int
    height: int

    def lon_lat(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Degrees, WGS84, of points (column, row) in pixels; (0, 0) is the top left corner."""
        from rasterio.warp import transform

        a, b, c, d, e, f = self.transform
        xs = [a * column + b * row + c for column, row in points]
        ys = [d * column + e * row + f for column, row in points]
        lon, lat = transform(self.crs, "EPSG:4326", xs, ys)
        return [(float(x), float(y)) for x, y in zip(lon, lat, strict=True)]

    def centre(self) -> tuple[float, float]:
        """Of the whole image."""
        return self.lon_lat([(self.width / 2, self.height / 2)])[0]

    def patch_centres(self) -> list[tuple[float, float]]:
        """Of the 16 patches."""
        middles = [divmod(k, ACROSS) for k in range(PATCHES)]
        return self.lon_lat([((column + 0.5) * TILE, (row + 0.5) * TILE) for row, column in middles])

    def gsd_m(self) -> float:
        """Metres a pixel on the ground, north to south; Web Mercator's own metres are larger."""
        from shards.sphere import great_circle_km, unit_vectors

        ends = self.lon_lat([(self.width / 2, row) for row in (0, self.height)])
        top, bottom = (unit_vectors(*end) for end in ends)
        return float(great_circle_km(top, bottom)) * 1000 / self.height


def read_picture(data: bytes) -> Picture:
    """An image file as a padded picture.

    Raises:
        ValueError: not a GeoTIFF, truncated, not 8 bits, fewer than 3 bands, or of another size.
    """
    import cv2

    bands = _read(data)
    if bands.dtype != np.uint8 or bands.shape[0] not in (3, 4):
        raise ValueError(
            f"{bands.shape[0]} bands of {bands.dtype}; expected red, green, blue and alpha of 8 bits"
        )
    height, width = bands.shape[1:]
    alpha = bands[3] if len(bands) == 4 else np.full((height, width), 255, np.uint8)
    return Picture(padded(cv2.merge(list(bands[:3]))), padded(alpha))


def read_clouds(data: bytes) -> NDArray[np.float64]:
    """Share of each patch that a UDM mask calls cloudy, [16].

    Raises:
        ValueError: as `read_picture`.
    """
    return shares(padded(_read(data)[0]) != 0)


def read_footprint(path: str) -> Footprint | None:
    """Where an image lies, from its header alone; None where it does not say.

    Raises:
        ValueError: no GeoTIFF.
    """
    import rasterio

    try:
        with rasterio.open(path, driver="GTiff") as file:
            if file.crs is None or file.transform.is_identity:
                return None
            found = Footprint(file.crs.to_wkt(), tuple(file.transform)[:6], file.width, file.height)
        lon, lat = found.centre()
    except rasterio.errors.RasterioError as error:
        raise ValueError(f"not a GeoTIFF that can be read ({error})") from None
    return found if math.isfinite(lon) and math.isfinite(lat) else None


def padded(pixels: NDArray[np.uint8], slack: int = _SLACK) -> NDArray[np.uint8]:
    """[H, W, …] to 1024 x 1024: zeros at the right and at the bottom; a row or column too many is cut off.

    Raises:
        ValueError: more than `slack` rows or columns are missing or too many.
    """
    height, width = pixels.shape[:2]
    if abs(height - SIDE) > slack or abs(width - SIDE) > slack:
        raise ValueError(
            f"{width} x {height} px; expected {SIDE} x {SIDE}, or at most {slack} rows or columns more or less"
        )
    if (height, width) == (SIDE, SIDE):
        return pixels
    out = np.zeros((SIDE, SIDE, *pixels.shape[2:]), np.uint8)
    out[: min(height, SIDE), : min(width, SIDE)] = pixels[:SIDE, :SIDE]
    return out


def patch_of(pixels: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
    """Patch k of [1024, 1024, …]."""
    row, column = divmod(k, ACROSS)
    return pixels[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]


def shares(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each patch where a mask [1024, 1024] is true, [16]."""
    counts = np.add.reduce(mask.view(np.uint8).reshape(ACROSS, TILE, SIDE), axis=1, dtype=np.uint16)
    per_tile = counts.reshape(ACROSS, ACROSS, TILE).sum(axis=2, dtype=np.int64)
    return np.asarray(per_tile.reshape(PATCHES) / TILE**2)


def _read(data: bytes) -> NDArray[np.uint8]:
    """All bands, [C, H, W]; the size is checked before anything is decoded."""
    import rasterio
    from rasterio.io import MemoryFile

    if not data:
        raise ValueError("the file is empty")
    try:
        with MemoryFile(data, filename=_NAME) as memory, memory.open(driver="GTiff") as file:
            if file.width > SIDE + _SLACK or file.height > SIDE + _SLACK or file.count > 4:
                raise ValueError(
                    f"{file.count} bands of {file.width} x {file.height} px; expected 4 of {SIDE} x {SIDE}"
                )
            pixels: NDArray[np.uint8] = file.read()
    except rasterio.errors.RasterioError as error:
        said = str(error.__cause__ or error).splitlines()[0]
        reason = re.sub(rf"^'?(/vsimem/\S+/)?{_NAME}'?[,:]? ", "", said)  # which is not the file's own name
        raise ValueError(f"not a whole GeoTIFF ({reason})") from None
    return pixels
