"""EuroSAT with all bands: a GeoTIFF of 13 bands an image, Sentinel-2 level 1C, each on the grid of 10 m (Helber et al. 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rsdata.sensors import SENSORS
from rsdata.sources.base import Fetched, FetchError, Item, read_file

if TYPE_CHECKING:
    from shards.dataset import Member

SIDE = 64
MEMBER = "b10.b2nd"
_BANDS = SENSORS["s2-l1c"].bands
_IN_FILE = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", "B8A")
"""B8A comes last in the files."""


def members() -> list[Member]:
    """All bands in one member, in the order of the sensor table."""
    from shards.dataset import Band, Member

    bands = [Band(name=b.name, wavelength_nm=b.wavelength_nm, unit=b.unit) for b in _BANDS]
    return [Member(ending=MEMBER, dtype="uint16", shape=(SIDE, SIDE, len(bands)), bands=bands)]


def fetch(root: Path, item: Item, licence: str) -> Fetched:
    """One image with its label, and its place where the file has one.

    Raises:
        FetchError: gone, damaged, or no image of 13 bands of 16 bits and 64 px.
    """
    import rasterio
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile
    from rasterio.warp import transform

    from rsdata.sources.members import json_member
    from shards.failures import FailureClass
    from shards.raster import encode_raster
    from shards.sample import Sample, View
    from shards.stats import Histogram

    data = read_file(root, item.urls[0], item.sizes[0])
    lon, lat = None, None
    try:
        with rasterio.Env(), MemoryFile(data) as memory, memory.open() as file:
            shape, kinds = (file.count, file.height, file.width), set(file.dtypes)
            if shape != (len(_BANDS), SIDE, SIDE) or kinds != {"uint16"}:
                found = f"{', '.join(sorted(kinds))} of shape {shape}"
                raise FetchError(
                    FailureClass.INVALID,
                    f"{item.id}: {found}; expected uint16 of shape {(len(_BANDS), SIDE, SIDE)}",
                    "check",
                )
            pixels = file.read([_IN_FILE.index(band.name) + 1 for band in _BANDS])
            if file.crs is not None:
                x, y = file.xy((SIDE - 1) / 2, (SIDE - 1) / 2)
                (lon,), (lat,) = transform(file.crs, "EPSG:4326", [x], [y])
    except RasterioError as error:
        raise FetchError(FailureClass.INVALID, f"{item.id}: cannot be read ({error})", "check") from None
    facts = {"id": item.id, "class_name": item.facts, "label": item.label, "split": item.split}
    view = View(
        member=MEMBER,
        width=SIDE,
        height=SIDE,
        label=item.label,
        split=item.split,
        lon=lon,
        lat=lat,
        gsd_m=10.0,
        source=item.urls[0],
        licence=licence,
        extra={"class_name": item.facts},
    )
    parts = {MEMBER: encode_raster(pixels), "cls": str(item.label).encode()}
    parts["json"] = json_member({**facts, "lon": lon, "lat": lat})
    return Fetched(Sample(item.key, parts, (view,)), Histogram.of(pixels.transpose(1, 2, 0)))
