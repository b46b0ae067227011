"""A window of a remote GeoTIFF: its header, then the tiles that the window touches, in as few ranges as they lie.

GDAL parses and decompresses; it reads from what was fetched here, so that its own network code (retries, redirects,
other protocols) has no part in it.
"""

from __future__ import annotations

import uuid
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rsdata.remote.retry import RemoteError
from rsdata.seasonal.grid import PatchGrid
from rsdata.seasonal.place import UnfitError
from rsdata.stac.client import Catalogue
from shards.failures import FailureClass

HEADER = 1 << 16
"""Bytes; the directories of a COG come first and fit."""
GAP = 1 << 16
"""Ranges with less between them are asked for as one."""
_LARGEST_BLOCK = 1 << 22
"""Pixels; a file with larger tiles is not one of these."""


def read_window(
    catalogue: Catalogue, url: str, grid: PatchGrid, gsd_m: int
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values and validity, [H, W] each, of a one-band file on the grid of a place.

    Raises:
        UnfitError: the file is not there, not a GeoTIFF, or has other pixels than those of the grid.
        RemoteError: the network.
    """
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.windows import Window

    file = RemoteFile(catalogue, url)
    side = grid.side_px(gsd_m)
    try:
        file.need([(0, HEADER)])
        options = {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_PAM_ENABLED": "NO",
            "GDAL_NUM_THREADS": "1",
        }
        with rasterio.Env(**options), rasterio.open(file.name, opener=file.open, driver="GTiff") as data:
            row, column = _place(data, grid, gsd_m)
            file.need(_blocks(data, row, column, side))
            values = data.read(1, window=Window(column, row, side, side))
            nodata = 0 if data.nodata is None else data.nodata
    except RemoteError as error:
        raise _unfit(error) from None
    except (RasterioError, ValueError) as error:
        if file.error is not None:
            raise _unfit(file.error) from None
        raise UnfitError(
            f"{_short(url)}: {' '.join(str(error).split())[:200]}", FailureClass.INVALID
        ) from None
    return values, values != nodata


class RemoteFile:
    """What of a file was fetched; anything else is fetched when it is read."""

    def __init__(self, catalogue: Catalogue, url: str) -> None:
        self.name = f"{uuid.uuid4().hex}.tif"
        """For GDAL: it never sees the URL."""
        self.error: RemoteError | None = None
        """What GDAL could not be told."""
        self.size = 0
        self._catalogue, self._url = catalogue, url
        self._pieces: list[tuple[int, bytes]] = []

    def need(self, ranges: list[tuple[int, int]]) -> None:
        """Fetch ranges [start, stop), those close to each other at once.

        Raises:
            RemoteError: they cannot be had.
        """
        merged: list[list[int]] = []
        for start, stop in sorted(ranges):
            if merged and start - merged[-1][1] <= GAP:
                merged[-1][1] = max(merged[-1][1], stop)
            else:
                merged.append([start, stop])
        for start, stop in merged:
            if self._find(start, stop) is None:
                data, self.size = self._catalogue.range(self._url, start, stop)
                self._pieces.append((start, data))

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), fewer at the end of the file."""
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        found = self._find(start, stop)
        if found is None:
            try:
                self.need([(start, max(stop, start + HEADER))])
            except RemoteError as error:
                self.error = error
                raise OSError(error.reason) from None
            found = self._find(start, stop)
        return found or b""

    def _find(self, start: int, stop: int) -> bytes | None:
        for first, data in self._pieces:
            if first <= start and (stop <= first + len(data) or first + len(data) == self.size):
                return data[start - first : stop - first]
        return None

    def open(self, path: str, mode: str = "rb") -> IO[bytes]:
        """As `open`, for rasterio; there are no files beside this one."""
        if path not in (self.name, "test"):  # rasterio tries an opener with this name
            raise FileNotFoundError(path)
        return _Cursor(self)  # type: ignore[return-value]  # rasterio's protocol names more than it uses


class _Cursor:
    """A file object over a RemoteFile."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._at = file, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, self._file.size)[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(self._at, self._file.size if count < 0 else self._at + count)
        self._at += len(data)
        return data

    def size(self) -> int:
        return self._file.size

    def close(self) -> None:
        """Nothing is held."""

    def __enter__(self) -> _Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _place(data: Any, grid: PatchGrid, gsd_m: int) -> tuple[int, int]:
    """Row and column of the grid's corner in a file.

    Raises:
        ValueError: its pixels are not those of the grid, or it does not reach that far.
    """
    x, y = grid.corner(gsd_m)
    a, b, c, d, e, f = tuple(data.transform)[:6]
    code = data.crs.to_epsg() if data.crs else None
    if (
        f"EPSG:{code}" != grid.crs
        or (a, b, d, e) != (gsd_m, 0, 0, -gsd_m)
        or (x - c) % gsd_m
        or (f - y) % gsd_m
    ):
        raise ValueError(
            f"its grid (EPSG:{code}, {a:g} m from {c:g}, {f:g}) is not the one that the catalogue says"
        )
    height, width = data.block_shapes[0]
    if (
        data.count != 1
        or height * width > _LARGEST_BLOCK
        or data.dtypes[0] not in ("uint8", "uint16", "int16")
    ):
        raise ValueError(
            f"{data.count} bands of {data.dtypes[0]} in blocks of {width} x {height} are not expected"
        )
    row, column = round((f - y) / gsd_m), round((x - c) / gsd_m)
    side = grid.side_px(gsd_m)
    if row < 0 or column < 0 or row + side > data.height or column + side > data.width:
        raise UnfitError(f"the patch leaves the raster of {data.width} x {data.height} px")
    return row, column


def _blocks(data: Any, row: int, column: int, side: int) -> list[tuple[int, int]]:
    """Where the blocks under a window lie in the file; those that it leaves out (all no-data) are not named."""
    height, width = data.block_shapes[0]
    ranges = []
    for y in range(row // height, (row + side - 1) // height + 1):
        for x in range(column // width, (column + side - 1) // width + 1):
            start = data.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=1)
            size = data.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1)
            if start and size:
                ranges.append((int(start), int(start) + int(size)))
    return ranges


def _unfit(error: RemoteError) -> Exception:
    """A file that is not there or not for us is a matter of this scene; the network is not."""
    if error.kind is FailureClass.TRANSIENT:
        return error
    return UnfitError(error.reason, error.kind)


def _short(url: str) -> str:
    return "/".join(url.split("?")[0].rsplit("/", 2)[-2:])
