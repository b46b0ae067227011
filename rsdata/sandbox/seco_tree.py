"""A small SeCo of the embedded planet: five seasons of places, 8 bits, JPEG in GeoTIFF, as published on Zenodo."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.skies import clearest, every, write_tif
from rsdata.sandbox.world import Grid, World
from rsdata.sandbox.world.cities import cities
from rsdata.sensors import SENSORS
from shards.random import choice, stream

TOP = "seasonal_contrast_100k"
"""Folder at the top of the published zip."""
_PLACE = stream("sandbox seco zip")
_SENSOR = SENSORS["s2-l2a"]
_WORLD_BAND = {
    "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge1", "B6": "rededge2", "B7": "rededge3",
    "B8": "nir", "B8A": "nir08", "B9": "watervapour", "B11": "swir1", "B12": "swir2",
}  # fmt: skip


def write_seco_tree(folder: Path | str, *, places: int = 3, seasons: int = 5, seed: int = 0) -> None:
    """Write `<place>/<scene>/B1.tif` … with metadata.json, and a preview beside each scene.

    Args:
        folder: that is there, and gets the places.
        places: how many, near the larger cities.
        seasons: scenes of each, twelve weeks apart.
        seed: of the planet and of the places.
    """
    folder, world, known = Path(folder), World(seed), cities()
    for number in range(places):
        city = int(choice(500, seed, _PLACE, number))
        edge = (
            float(known.lat[city]) + 0.8 * float(known.radius_m[city]) / 111_000
        )  # where town and fields meet
        coarse = Grid.around(float(known.lon[city]), edge, 60.0, 44)
        grids = {
            gsd: replace(coarse, res=float(gsd), width=_SENSOR.side_at(gsd), height=_SENSOR.side_at(gsd))
            for gsd in _SENSOR.resolutions
        }
        scenes = {gsd: world.scene(grid) for gsd, grid in grids.items()}
        for season in range(seasons):
            start = datetime(2019, 3, 10, 10, 20, 31 + season, tzinfo=UTC).replace(month=1 + 2 * season)
            when = clearest(world, grids[10], every(5, start, 6))
            name = f"{when:%Y%m%dT%H%M%S}_{when:%Y%m%dT%H%M%S}_T{coarse.crs[-2:]}UPU"
            at = folder / f"{number:06d}" / name
            at.mkdir(parents=True)
            shown: dict[str, NDArray[np.uint8]] = {}
            for gsd, scene in scenes.items():
                bands = _SENSOR.bands_at(gsd)
                planes = scene.reflectance(when, [_WORLD_BAND[band.name] for band in bands])
                for band, plane in zip(bands, planes, strict=True):
                    shown[band.name] = (np.clip(plane, 0, 1) * 255).astype(np.uint8)
                    write_tif(
                        at / f"{band.name}.tif",
                        shown[band.name],
                        "EPSG:4326",
                        _degrees(grids[gsd]),
                        compress="JPEG",
                    )
            cloud = float(world.cloud(grids[60], when).mean() * 100)
            facts = {
                "system:index": name,
                "system:time_start": round(when.timestamp() * 1000),
                "CLOUDY_PIXEL_PERCENTAGE": round(cloud, 4),
                "MGRS_TILE": name[-5:],
            }
            (at / "metadata.json").write_text(json.dumps(facts), encoding="utf-8")
            write_tif(at.with_name(f"{name}.tif"), shown["B4"], "EPSG:4326", _degrees(grids[10]))


def _degrees(grid: Grid) -> tuple[float, ...]:
    """The box of a grid in degrees cut into its pixels, which is how the published files are georeferenced."""
    columns, rows = np.array([0, grid.width, 0, grid.width]), np.array([0, 0, grid.height, grid.height])
    lon, lat = grid.lonlat(columns, rows)
    west, north = float(lon.min()), float(lat.max())
    x, y = (float(lon.max()) - west) / grid.width, (float(lat.min()) - north) / grid.height
    return (x, 0.0, west, 0.0, y, north)
