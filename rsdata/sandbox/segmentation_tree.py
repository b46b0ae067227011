"""Sets of masks rendered from the planet, each in the layout of a released archive, with true labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rsdata.sandbox.detection_tree import write_geotiff
from rsdata.sandbox.shot import Outline, Shot, shots
from rsdata.sandbox.world.things import Thing
from shards.codec import encode_png

_URBAN = ("single-unit_residential", "port", "multi-unit_residential", "wind_farm")
NO_DATA_PX = 16
"""Columns without data at the left edge of LoveDA's first picture."""


def write_loveda_tree(folder: Path, *, places: int = 6, seed: int = 0, side: int = 256) -> tuple[Shot, ...]:
    """LoveDA: PNG pairs, masks of 1 … 7 and 0 where there are no data; answers what it drew."""
    made = shots(places, seed, side, _URBAN)
    for number, shot in enumerate(made):
        area = "Rural" if number % 4 == 3 else "Urban"
        pixels, mask = shot.pixels.copy(), shot.cover + 1
        if number == 0:
            pixels[:, :NO_DATA_PX], mask[:, :NO_DATA_PX] = 0, 0
        for name, data in (("images_png", pixels), ("masks_png", mask)):
            path = folder / shot.split.title() / area / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(data))
    return made


def write_spacenet_tree(folder: Path, *, places: int = 4, seed: int = 0, side: int = 256) -> tuple[Shot, ...]:
    """SpaceNet 1: GeoTIFF of three bands, and a GeoJSON of buildings in longitude and latitude beside each."""
    made = shots(places, seed, side, _URBAN[::2])
    for shot in made:
        name = f"AOI_1_RIO_img{int(shot.name) + 1}"
        write_geotiff(folder / "3band" / f"3band_{name}.tif", shot)
        features = [
            {"type": "Feature", "properties": {"OBJECTID": number}, "geometry": _polygon(shot, outline)}
            for number, outline in enumerate(shot.objects)
            if outline.kind == Thing.BUILDING
        ]
        path = folder / "geojson" / f"Geo_{name}.geojson"
        path.parent.mkdir(parents=True, exist_ok=True)
        system = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
        path.write_text(json.dumps({"type": "FeatureCollection", "crs": system, "features": features}))
    return made


def _polygon(shot: Shot, outline: Outline) -> dict[str, Any]:
    rings = []
    for ring in outline.rings:
        points = [shot.grid.lonlat(x, y) for x, y in (*ring, ring[0])]
        rings.append([[float(lon), float(lat)] for lon, lat in points])
    return {"type": "Polygon", "coordinates": rings}
