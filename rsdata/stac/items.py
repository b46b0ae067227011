"""What a STAC item says: the scene, where its bands are, and what was added to their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rsdata.seasonal.grid import Affine
from rsdata.seasonal.scenes import SceneInfo, outer_rings
from rsdata.sensors import Sensor

Json = Mapping[str, Any]


def scene_of(sensor: Sensor, item: Json) -> SceneInfo:
    """An item as a scene.

    Raises:
        KeyError, TypeError, ValueError: it lacks what is needed: id, datetime, projection.
    """
    properties = item["properties"]
    when = datetime.fromisoformat(properties["datetime"].replace("Z", "+00:00"))
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    cloud = properties.get(sensor.stac_cloud_property)
    return SceneInfo(
        id=str(item["id"]),
        time_ms=round(when.timestamp() * 1000),
        cloud_percent=None if cloud is None else float(cloud),
        crs=_crs(item, sensor),
        natives={gsd: _native(item, sensor, gsd) for gsd in sensor.resolutions},
        rings=_rings(item.get("geometry")),
        properties=properties,
    )


def asset_of(item: Json, *names: str) -> Json | None:
    """The first asset that is there, by the names of Earth Search or by the numbers of bands (`B04`)."""
    assets = item.get("assets") or {}
    for name in names:
        padded = f"B0{name[1:]}" if len(name) == 2 and name[0] == "B" else name
        for known in (name, padded):
            if known and isinstance(assets.get(known), Mapping) and assets[known].get("href"):
                found: Json = assets[known]
                return found
    return None


def added_to(sensor: Sensor, item: Json, asset: Json) -> int:
    """What must be taken off the numbers of a band to have them as they were before processing baseline 04.00.

    Earth Search took the offset off most of its files and then says `earthsearch:boa_offset_applied`; the `offset` of
    `raster:bands` stands beside them either way (Element84/earth-search issues 23 and 66), so it counts only where
    the baseline, or without one the date, says that there is one.
    """
    properties = item["properties"]
    if not sensor.offset or properties.get("earthsearch:boa_offset_applied"):
        return 0
    baseline = properties.get("s2:processing_baseline", properties.get("processing:version"))
    try:
        new = float(str(baseline)) >= 4
    except ValueError:
        new = str(properties["datetime"])[:10] >= (sensor.offset_from or "9999")
    if not new:
        return 0
    band: Json = next(iter(asset.get("raster:bands") or asset.get("bands") or []), {})
    scale = band.get("scale", band.get("raster:scale", asset.get("raster:scale")))
    offset = band.get("offset", band.get("raster:offset", asset.get("raster:offset")))
    return round(-offset / scale) if offset is not None and scale else sensor.offset


def _crs(item: Json, sensor: Sensor) -> str:
    """From the item or, where it is not there, from an asset."""
    for where in (item["properties"], asset_of(item, sensor.bands[0].asset, sensor.bands[0].name) or {}):
        if where.get("proj:code"):
            return str(where["proj:code"])
        if where.get("proj:epsg"):
            return f"EPSG:{int(where['proj:epsg'])}"
    raise KeyError("proj:epsg")


def _native(item: Json, sensor: Sensor, gsd_m: int) -> Affine:
    """Of the grid of a resolution; where the catalogue is silent that of all Sentinel-2 tiles: multiples of the pixel."""
    band = sensor.bands_at(gsd_m)[0]
    numbers: Sequence[float] | None = (asset_of(item, band.asset, band.name) or {}).get("proj:transform")
    if numbers is None:
        return (float(gsd_m), 0.0, 0.0, 0.0, -float(gsd_m), 0.0)
    a, b, c, d, e, f = (float(number) for number in numbers[:6])
    return a, b, c, d, e, f


def _rings(geometry: Any) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Outer rings; the parts of a footprint that GeoJSON cuts at the antimeridian are joined again."""
    import shapely

    rings = outer_rings(geometry)
    lons = [lon for ring in rings for lon, _ in ring]
    if len(rings) < 2 or min(lons) > -179.9 or max(lons) < 179.9:
        return rings
    parts = [shapely.Polygon([(lon % 360, lat) for lon, lat in ring]) for ring in rings]
    parts = [part for part in parts if part.is_valid]
    whole = shapely.union_all(parts, grid_size=1e-9)
    polygons = whole.geoms if whole.geom_type == "MultiPolygon" else [whole]
    return tuple(tuple((x, y) for x, y in p.exterior.coords) for p in polygons if p.geom_type == "Polygon")
