"""The file host: GeoTIFFs of scenes, by ranges of bytes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np

from rsdata.sandbox.scenes import Scene, scene_by_id, stack
from rsdata.sandbox.stac.cog import TILE_PX, Cog
from rsdata.sandbox.stac.items import ASSETS, SENSOR, added

Tiles = dict[str, Any]


@lru_cache(maxsize=512)
def cog_at(path: str, seed: int) -> Cog | None:
    """The file at a path below `/cog`, such as `/20200125T…_T36QZH/red.tif`; None where there is none."""
    parts = path.strip("/").removesuffix(".tif").split("/")
    if len(parts) != 2 or parts[1] not in ASSETS or not path.endswith(".tif"):
        return None
    scene = scene_by_id(SENSOR, parts[0], seed)
    if scene is None:
        return None
    band = scene.product.band(ASSETS[parts[1]])
    _, _, left, _, _, top = scene.transform(band.gsd_m)
    bits = 8 * np.dtype(band.dtype).itemsize

    def tile(column: int, row: int) -> bytes:
        data: bytes = _tiles(scene, band.gsd_m, column, row)[band.name]
        return data

    return Cog(scene.epsg, left, top, float(band.gsd_m), scene.shape(band.gsd_m)[1], bits, tile)


def range_of(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, stop) of a Range header; the whole file where it is none, or one that this host does not serve.

    Returns:
        None where nothing of the range lies in the file (416).
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if not found or found.group() == "bytes=-":
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    start, stop = int(first), min(int(last) + 1 if last else size, size)
    return (start, stop) if start < stop else None


@lru_cache(maxsize=160)
def _tiles(scene: Scene, gsd_m: int, column: int, row: int) -> Tiles:
    """The bytes of one tile of all bands of a resolution; they are asked for one soon after the other."""
    bands = [b for b in scene.product.bands if b.gsd_m == gsd_m and b.name in ASSETS.values()]
    a, _, left, _, e, top = scene.transform(gsd_m)
    corner = (a, 0.0, left + column * TILE_PX * a, 0.0, e, top + row * TILE_PX * e)
    values, masks = stack(scene, [b.name for b in bands], corner, TILE_PX, TILE_PX)
    out: Tiles = {}
    for band, plane, valid in zip(bands, values, masks, strict=True):
        if band.dtype == "uint16":
            plane = np.where(valid, plane + np.uint16(added(scene)), 0)
        out[band.name] = plane.astype(np.dtype(band.dtype).newbyteorder("<")).tobytes()
    return out
