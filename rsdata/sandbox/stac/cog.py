"""Cloud-optimised GeoTIFFs that nobody has written: the header is computed, a tile is made when its bytes are asked for.

Plain TIFF 6.0 (little-endian, uncompressed, tiled) with the tags of GeoTIFF 1.1 (OGC 19-008r4). Tile k lies at a fixed
offset, so a range of bytes maps to tiles without anything being kept. There are no overviews.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TILE_PX = 256
_DATA = 1 << 16
"""Where the tiles begin; all that a reader needs before them lies in the first 64 KiB."""
_SHORT, _LONG, _DOUBLE, _ASCII = 3, 4, 12, 2
_CODES = {_SHORT: "H", _LONG: "I", _DOUBLE: "d", _ASCII: "s"}


@dataclass(frozen=True)
class Cog:
    """One band of one scene; square, no-data 0."""

    epsg: int
    x0: float
    """Left edge, metres."""
    y0: float
    """Top edge, metres."""
    res_m: float
    side_px: int
    bits: int
    """8 or 16, unsigned."""
    tile: Callable[[int, int], bytes]
    """Bytes of the tile at a column and a row of tiles, padded at the edges."""

    @property
    def across(self) -> int:
        """Tiles in a row, and rows."""
        return -(-self.side_px // TILE_PX)

    @property
    def tile_bytes(self) -> int:
        """Of each tile, those at the edges too."""
        return TILE_PX * TILE_PX * self.bits // 8

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return _DATA + self.across**2 * self.tile_bytes

    @cached_property
    def header(self) -> bytes:
        """Everything before the tiles."""
        tiles = self.across**2
        entries: list[tuple[int, int, list[Any]]] = [
            (256, _LONG, [self.side_px]),
            (257, _LONG, [self.side_px]),
            (258, _SHORT, [self.bits]),
            (259, _SHORT, [1]),  # not compressed
            (262, _SHORT, [1]),  # black is zero
            (277, _SHORT, [1]),
            (284, _SHORT, [1]),
            (322, _LONG, [TILE_PX]),
            (323, _LONG, [TILE_PX]),
            (324, _LONG, [_DATA + k * self.tile_bytes for k in range(tiles)]),
            (325, _LONG, [self.tile_bytes] * tiles),
            (339, _SHORT, [1]),  # unsigned integers
            (33550, _DOUBLE, [self.res_m, self.res_m, 0.0]),
            (33922, _DOUBLE, [0.0, 0.0, 0.0, self.x0, self.y0, 0.0]),
            # projected; a pixel is an area; which projection
            (34735, _SHORT, [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, self.epsg]),
            (42113, _ASCII, [b"0\0"]),
        ]
        directory, extra = b"", b""
        after = 8 + 2 + 12 * len(entries) + 4
        for tag, kind, values in entries:
            code = _CODES[kind]
            count = len(values[0]) if kind == _ASCII else len(values)
            data: bytes = values[0] if kind == _ASCII else struct.pack(f"<{count}{code}", *values)
            if len(data) > 4:
                where = struct.pack("<I", after + len(extra))
                extra += data + bytes(-len(data) % 8)
            else:
                where = data.ljust(4, b"\0")
            directory += struct.pack("<HHI", tag, kind, count) + where
        head = (
            struct.pack("<2sHI", b"II", 42, 8)
            + struct.pack("<H", len(entries))
            + directory
            + bytes(4)
            + extra
        )
        assert len(head) <= _DATA
        return head.ljust(_DATA, b"\0")

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop) of the file; only the tiles that they touch are made."""
        parts = [self.header[start:stop]]
        at = max(start, _DATA)
        while at < min(stop, self.size):
            number, skip = divmod(at - _DATA, self.tile_bytes)
            row, column = divmod(number, self.across)
            take = min(stop - at, self.tile_bytes - skip)
            parts.append(self.tile(column, row)[skip : skip + take])
            at += take
        return b"".join(parts)
