"""A small BigEarthNet of the embedded planet: the official folders, names, JSON and lists, with labels of its land cover."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.land import is_land
from rsdata.sandbox.skies import clearest, every, write_tif
from rsdata.sandbox.world import COVER, Grid, World
from rsdata.sandbox.world.cities import cities
from rsdata.sandbox.world.grid import EARTH_RADIUS_M
from rsdata.sensors import SENSORS, Sensor
from shards.random import choice, stream, uniform

S2, S1 = "BigEarthNet-v1.0", "BigEarthNet-S1-v1.0"
_PLACE = stream("sandbox bigearthnet place")
_COUNTRIES = frozenset(["AUT", "BEL", "FIN", "IRL", "XKX", "LTU", "LUX", "PRT", "SRB", "CHE"])
"""The ten of the archive."""
_WORLD_BAND = {
    "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge1", "B6": "rededge2", "B7": "rededge3",
    "B8": "nir", "B8A": "nir08", "B9": "watervapour", "B11": "swir1", "B12": "swir2", "VV": "vv", "VH": "vh",
}  # fmt: skip
_LEAST = 0.05
"""Share of a patch from which on a cover becomes a label."""
_LABEL = {
    "water": "Water bodies",
    "bare": "Bare rock",
    "grass": "Pastures",
    "shrub": "Transitional woodland/shrub",
    "broadleaf": "Broad-leaved forest",
    "conifer": "Coniferous forest",
    "crop": "Non-irrigated arable land",
    "wetland": "Inland marshes",
    "built": "Discontinuous urban fabric",
}
"""Cover of the planet -> class of the 43; ice has none."""


def write_bigearthnet_tree(folder: Path | str, *, places: int = 12, seed: int = 0) -> list[str]:
    """Write `BigEarthNet-v1.0/`, `BigEarthNet-S1-v1.0/`, train.csv, val.csv, test.csv and a list of snow.

    Every third patch is val, every third test; the last place stands in the list of snow and in no other.

    Args:
        folder: that is there, and gets the tree.
        places: patches of each sensor.
        seed: of the planet and of the places.

    Returns:
        Names of the Sentinel-2 patches.
    """
    folder, world, names = Path(folder), World(seed), []
    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(places):
        grid = _grid(seed, number)
        when = clearest(world, grid, every(29, datetime(2017, 6, 13, 10, 10, 31, tzinfo=UTC), 10))
        radar = when.replace(hour=6, minute=47) - timedelta(days=1)
        labels = labels_of(world.landcover(grid))
        name = f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_{number}_{number + 40}"
        twin = f"S1A_IW_GRDH_1SDV_{radar:%Y%m%dT%H%M%S}_{_tile(grid)}_{number}_{number + 40}"
        about = {"labels": labels, "projection": _wkt(grid.crs)}
        corners = {"ulx": grid.x0, "uly": grid.y0, "lrx": grid.x0 + 1200}
        _write(world, folder / S2 / name, SENSORS["s2-l2a"], grid, when, {
            **about,
            "coordinates": corners | {"lry": grid.y0 - 1200},
            "tile_source": f"S2A_MSIL1C_{when:%Y%m%dT%H%M%S}_N0205_R022_T{_tile(grid)}.SAFE",
            "acquisition_date": f"{when:%Y-%m-%d %H:%M:%S}",
        })  # fmt: skip
        _write(world, folder / S1 / twin, SENSORS["s1-grd"], grid, radar, {
            **about,
            "coordinates": corners | {"lly": grid.y0 - 1200},
            "corresponding_s2_patch": name,
            "scene_source": twin.rsplit("_", 3)[0],
            "acquisition_time": f"{radar:%Y-%m-%dT%H:%M:%S}",
        })  # fmt: skip
        names.append(name)
        if number < places - 1:
            lists[("train", "val", "test")[number % 3]].append(f"{name},{twin}")
    for split, rows in lists.items():
        (folder / f"{split}.csv").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    (folder / "patches_with_seasonal_snow.csv").write_text(f"{names[-1]}\n", encoding="utf-8")
    return names


def labels_of(cover: NDArray[np.uint8]) -> list[str]:
    """Labels of a patch from its land cover (positions in COVER): whatever covers a twentieth of it, else the most."""
    share = np.bincount(cover.ravel(), minlength=len(COVER)) / cover.size
    found = {name: float(part) for name, part in zip(COVER, share, strict=True) if name in _LABEL}
    kept = [name for name, part in found.items() if part >= _LEAST] or [max(found, key=lambda n: found[n])]
    return sorted(_LABEL[name] for name in kept)


def _grid(seed: int, number: int) -> Grid:
    """A patch of 1.2 km near a city of the ten countries, on the pixels of 60 m."""
    known = cities()
    rows = np.flatnonzero([country in _COUNTRIES for country in known.country])
    for attempt in range(1000):
        key = (seed, _PLACE, number, attempt)
        city = int(rows[int(choice(len(rows), *key))])
        reach = (
            24_000 if number % 2 else 2.5 * float(known.radius_m[city])
        )  # every other one at the edge of a town
        east, north = (float(value) for value in (uniform(*key, 1, count=2) - 0.5) * reach)
        lat = float(known.lat[city]) + float(np.degrees(north / EARTH_RADIUS_M))
        lon = float(known.lon[city]) + float(np.degrees(east / EARTH_RADIUS_M) / np.cos(np.radians(lat)))
        if bool(is_land(lon, lat)):
            break
    coarse = Grid.around(lon, lat, 60.0, 20)
    return Grid(coarse.crs, coarse.x0, coarse.y0, 10.0, 120, 120)


def _write(
    world: World, folder: Path, sensor: Sensor, grid: Grid, when: datetime, facts: dict[str, Any]
) -> None:
    folder.mkdir(parents=True)
    for gsd in sensor.resolutions:
        own = replace(grid, res=float(gsd), width=1200 // gsd, height=1200 // gsd)
        bands = sensor.bands_at(gsd)
        planes = world.reflectance(own, when, [_WORLD_BAND[band.name] for band in bands])
        for band, plane in zip(bands, planes, strict=True):
            pixels = plane.astype(np.float32)
            if sensor.dtype == "uint16":
                pixels = np.clip(np.rint(plane * 10_000), 1, 65_535).astype(np.uint16)
            name = f"B{int(band.name[1:]):02d}" if band.name[1:].isdecimal() else band.name
            write_tif(
                folder / f"{folder.name}_{name}.tif", pixels, grid.crs, (gsd, 0, grid.x0, 0, -gsd, grid.y0)
            )
    path = folder / f"{folder.name}_labels_metadata.json"
    path.write_text(json.dumps(facts), encoding="utf-8")


def _tile(grid: Grid) -> str:
    """The name of a tile, by its zone; the squares of the MGRS do not matter here."""
    return f"{grid.crs[-2:]}UPU"


def _wkt(crs: str) -> str:
    from pyproj import CRS

    return str(CRS.from_user_input(crs).to_wkt("WKT1_GDAL"))
