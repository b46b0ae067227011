"""Pairs of dates between which houses were built on the embedded planet: a small OSCD, and a small LEVIR-CD."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsdata.curate.oscd_files import TEST, TRAIN
from rsdata.sandbox.skies import clearest, every, write_tif
from rsdata.sandbox.world import COVER, Grid, Material, World
from rsdata.sandbox.world.canvas import Canvas
from rsdata.sandbox.world.cities import cities
from rsdata.sandbox.world.spectra import COVER_OF
from rsdata.sensors import SENSORS
from shards.random import stream, uniform

_BLOCK, _SITE = stream("sandbox change block"), stream("sandbox change site")
_NAME = "Onera Satellite Change Detection dataset - "
_FIRST, _SECOND = datetime(2015, 8, 20, 10, 40, tzinfo=UTC), datetime(2018, 3, 5, 10, 40, tzinfo=UTC)
_AT = {
    "aguasclaras": (-48.02, -15.83), "bercy": (2.38, 48.83), "bordeaux": (-0.62, 44.83), "nantes": (-1.60, 47.24),
    "paris": (2.37, 48.90), "rennes": (-1.66, 48.09), "saclay_e": (2.20, 48.71), "abudhabi": (54.60, 24.42),
    "cupertino": (-122.02, 37.32), "pisa": (10.38, 43.70), "beihai": (109.15, 21.45), "hongkong": (114.00, 22.43),
    "beirut": (35.51, 33.86), "mumbai": (73.02, 19.06), "brasilia": (-47.85, -15.75), "montpellier": (3.92, 43.60),
    "norcia": (13.10, 42.79), "rio": (-43.36, -22.97), "saclay_w": (2.15, 48.72), "valencia": (-0.42, 39.45),
    "dubai": (55.20, 25.05), "lasvegas": (-115.28, 36.15), "milano": (9.12, 45.50), "chongqing": (106.60, 29.60),
}  # fmt: skip
"""Longitude and latitude, degrees."""
_WORLD_BAND = {
    "B1": "coastal", "B2": "blue", "B3": "green", "B4": "red", "B5": "rededge1", "B6": "rededge2", "B7": "rededge3",
    "B8": "nir", "B8A": "nir08", "B9": "watervapour", "B10": "cirrus", "B11": "swir1", "B12": "swir2",
}  # fmt: skip
_ROOFS = (Material.ROOF_GREY, Material.ROOF_WHITE, Material.ROOF_RED, Material.CONCRETE)
_KEPT = (COVER.index("built"), COVER.index("water"))


@dataclass(frozen=True)
class NewBlocks:
    """Roofs that stand where neither houses nor water were."""

    lon: float
    """Of the middle of the picture, degrees."""
    lat: float
    blocks: tuple[tuple[float, float, float, float, Material], ...]
    """Metres east and north of the middle, half of the sides, what it is made of."""

    def paint(self, canvas: Canvas) -> None:
        """Draw the roofs onto the canvas."""
        east, north = canvas.ground.local(self.lon, self.lat)
        for x, y, wide, tall, material in self.blocks:
            free = ~np.isin(COVER_OF[canvas.material], _KEPT)
            canvas.put((np.abs(east - x) < wide) & (np.abs(north - y) < tall) & free, material, height=8.0)


def blocks(lon: float, lat: float, side_m: float, count: int, size_m: float, key: Sequence[int]) -> NewBlocks:
    """Roofs at random in a square.

    Args:
        lon: of its middle, degrees.
        lat: of its middle, degrees.
        side_m: of the square.
        count: roofs.
        size_m: mean side of a roof.
        key: address of the draws.
    """
    drawn = uniform(_BLOCK, *key, count=5 * count).reshape(count, 5)
    rows = []
    for x, y, wide, tall, kind in drawn.tolist():
        half = size_m / 2
        roof = _ROOFS[int(kind * len(_ROOFS))]
        rows.append(((x - 0.5) * side_m, (y - 0.5) * side_m, half * (0.5 + wide), half * (0.5 + tall), roof))
    return NewBlocks(lon, lat, tuple(rows))


def write_oscd_tree(
    folder: Path | str, *, train: int = 3, test: int = 2, seed: int = 0, side_px: int = 208
) -> list[str]:
    """Write the folders of the three archives of OSCD with some of its cities; answers their names.

    Args:
        folder: that is there, and gets the tree.
        train: cities of the official train list.
        test: cities of the official test list.
        seed: of the planet and of what was built.
        side_px: mean side of the images, pixels of 10 m.
    """
    folder, world = Path(folder), World(seed)
    chosen = [(city, "Train Labels") for city in TRAIN[:train]] + [
        (city, "Test Labels") for city in TEST[:test]
    ]
    images = folder / f"{_NAME}Images"
    for number, (city, labels) in enumerate(chosen):
        lon, lat = _AT[city]
        wide, tall = (round(side_px * (0.85 + 0.3 * part)) for part in uniform(_SITE, seed, number, count=2))
        grid = Grid.around(lon, lat, 10.0, (wide, tall))
        new = blocks(lon, lat, 10.0 * side_px, 24, 160.0, (seed, number))
        before, after = world.scene(grid), world.scene(grid, [new])
        dates = [clearest(world, grid, every(23, start, 12)) for start in (_FIRST, _SECOND)]
        for scene, date, name in zip((before, after), dates, ("imgs_1_rect", "imgs_2_rect"), strict=True):
            at = images / city / name
            at.mkdir(parents=True)
            bands = SENSORS["s2-l1c"].bands
            planes = scene.reflectance(date, [_WORLD_BAND[band.name] for band in bands])
            for band, plane in zip(bands, planes, strict=True):
                file = f"B{int(band.name[1:]):02d}" if band.name[1:].isdecimal() else band.name
                pixels = np.clip(np.rint(plane * 10_000), 1, 65_535).astype(np.uint16)
                write_tif(at / f"{file}.tif", pixels, grid.crs, (10, 0, grid.x0, 0, -10, grid.y0))
        text = "".join(f"date_{n}: {date:%Y%m%d}\n" for n, date in enumerate(dates, start=1))
        (images / city / "dates.txt").write_text(text, encoding="utf-8")
        (images / city / f"{city}.geojson").write_text(json.dumps(_outline(grid)), encoding="utf-8")
        changed = before.landcover() != after.landcover()
        cm = folder / f"{_NAME}{labels}" / city / "cm"
        cm.mkdir(parents=True)
        _write_png(cm / "cm.png", changed.astype(np.uint8) * 255)
        write_tif(
            cm / f"{city}-cm.tif", changed.astype(np.uint8) + 1, grid.crs, (10, 0, grid.x0, 0, -10, grid.y0)
        )
    (images / "train.txt").write_text(",".join(TRAIN), encoding="utf-8")
    (images / "test.txt").write_text(",".join(TEST), encoding="utf-8")
    return [city for city, _ in chosen]


def write_levir_tree(folder: Path | str, *, scenes: int = 8, seed: int = 0, side_px: int = 256) -> list[str]:
    """Write `A/`, `B/` and `label/` with pairs of 1 m; answers the names of the files.

    Args:
        folder: that is there, and gets the tree.
        scenes: pairs; every fourth is val, every fourth test.
        seed: of the planet, of the places and of what was built.
        side_px: of the images.
    """
    folder, world, known, names = Path(folder), World(seed), cities(), []
    for part in ("A", "B", "label"):
        (folder / part).mkdir()
    for number in range(scenes):
        draw = uniform(_SITE, seed, number, 1, count=2)
        city = int(400 * draw[0])
        lat = float(known.lat[city]) + float(known.radius_m[city]) / 111_000 * (0.5 + 0.4 * float(draw[1]))
        lon = float(known.lon[city])
        grid = Grid.around(lon, lat, 1.0, side_px)
        new = blocks(lon, lat, side_px, 10, 18.0, (seed, number, 1))
        before, after = world.scene(grid), world.scene(grid, [new])
        name = f"{('train', 'val', 'train', 'test')[number % 4]}_{number + 1}_0000_0000.png"
        for part, scene, start in (("A", before, _FIRST), ("B", after, _SECOND)):
            when = clearest(world, grid, every(23, start, 12))
            _write_png(folder / part / name, scene.rgb(when, acquisition=number))
        changed = before.landcover() != after.landcover()
        _write_png(folder / "label" / name, changed.astype(np.uint8) * 255)
        names.append(name)
    return names


def _outline(grid: Grid) -> dict[str, object]:
    corners = [(0, 0), (0, grid.height), (grid.width, grid.height), (grid.width, 0), (0, 0)]
    ring = [[float(value) for value in grid.lonlat(column, row)] for column, row in corners]
    shape = {"type": "Polygon", "coordinates": [ring]}
    return {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": shape}],
    }


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    from shards.codec import encode_png

    path.write_bytes(encode_png(pixels))
