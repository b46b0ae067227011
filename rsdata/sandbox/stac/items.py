"""A scene as a STAC item, shaped as those of Earth Search v1 (collection sentinel-2-l2a)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rsdata.sandbox.scenes import HARMONISED_FROM, Scene

COLLECTION = "sentinel-2-l2a"
SENSOR = "s2-l2a"
ASSETS = {
    "coastal": "B1",
    "blue": "B2",
    "green": "B3",
    "red": "B4",
    "rededge1": "B5",
    "rededge2": "B6",
    "rededge3": "B7",
    "nir": "B8",
    "nir08": "B8A",
    "nir09": "B9",
    "swir16": "B11",
    "swir22": "B12",
    "scl": "SCL",
}
"""Name of the asset -> band."""


def added(scene: Scene) -> int:
    """What was added to the numbers of a scene's files: from 2022-01-25 on 1000, but Earth Search took it off of most."""
    return 1000 if scene.time >= HARMONISED_FROM and not offset_applied(scene) else 0


def offset_applied(scene: Scene) -> bool:
    """Whether the files have the added 1000 taken off again: three of four new scenes, by their day."""
    return scene.time >= HARMONISED_FROM and scene.sensed // 86_400_000 % 4 != 0


def item_of(scene: Scene, base: str) -> dict[str, Any]:
    """The item; `base` is the URL of the whole server."""
    name = item_id(scene)
    ring = [[lon, lat] for lon, lat in scene.footprint]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": name,
        "collection": COLLECTION,
        "geometry": _geometry(ring),
        "bbox": _bbox(ring),
        "properties": {
            "datetime": _stamp(scene.time),
            "platform": "sentinel-2b" if scene.sensed // 86_400_000 % 2 else "sentinel-2a",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "eo:cloud_cover": scene.cloud_percent,
            "proj:epsg": scene.epsg,
            "grid:code": f"MGRS-{scene.tile}",
            "sat:relative_orbit": scene.orbit,
            "s2:processing_baseline": "04.00" if scene.time >= HARMONISED_FROM else "02.14",
            "s2:granule_id": scene.id,
            "earthsearch:boa_offset_applied": offset_applied(scene),
        },
        "assets": {asset: _asset(scene, asset, band, base) for asset, band in ASSETS.items()},
        "links": [
            {"rel": "self", "type": "application/geo+json", "href": f"{_collection(base)}/items/{name}"},
            {"rel": "collection", "type": "application/json", "href": _collection(base)},
            {"rel": "parent", "type": "application/json", "href": _collection(base)},
            {"rel": "root", "type": "application/json", "href": f"{base}/stac"},
        ],
    }


def item_id(scene: Scene) -> str:
    """`S2_36QZH_20200125_35_L2A`: the tile, the day and the orbit."""
    return f"S2_{scene.tile}_{_stamp(scene.time)[:10].replace('-', '')}_{scene.orbit}_L2A"


def _collection(base: str) -> str:
    return f"{base}/stac/collections/{COLLECTION}"


def _asset(scene: Scene, asset: str, band: str, base: str) -> dict[str, Any]:
    found = scene.product.band(band)
    height, width = scene.shape(found.gsd_m)
    raster: dict[str, Any] = {
        "nodata": 0,
        "data_type": found.dtype,
        "spatial_resolution": found.gsd_m,
    }
    if asset != "scl":
        # As in the real catalogue, the offset stands here whether or not the numbers have it.
        raster |= {"scale": 0.0001, "offset": -0.1 if scene.time >= HARMONISED_FROM else 0}
    return {
        "href": f"{base}/cog/{scene.id}/{asset}.tif",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data", "reflectance"],
        "proj:shape": [height, width],
        "proj:transform": list(scene.transform(found.gsd_m)),
        "raster:bands": [raster],
    }


def _geometry(ring: list[list[float]]) -> dict[str, Any]:
    """As RFC 7946 asks: a polygon that crosses the antimeridian is cut there."""
    import shapely

    polygon = shapely.Polygon(ring)
    west, _, east, _ = polygon.bounds
    if west >= -180 and east <= 180:
        return {"type": "Polygon", "coordinates": [ring]}
    parts = []
    for turn in (-360, 0, 360):
        part = shapely.affinity.translate(polygon, turn).intersection(shapely.box(-180, -90, 180, 90))
        if part.geom_type == "Polygon" and not part.is_empty:
            parts.append([[list(point) for point in part.exterior.coords]])
    return {"type": "MultiPolygon", "coordinates": parts}


def _bbox(ring: list[list[float]]) -> list[float]:
    lons, lats = [lon for lon, _ in ring], [lat for _, lat in ring]
    west, east = ((lon + 180) % 360 - 180 for lon in (min(lons), max(lons)))
    return [west, min(lats), east, max(lats)]


def _stamp(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
