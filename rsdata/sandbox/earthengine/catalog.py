"""Scenes of the planet as images of Earth Engine's collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import shapely

from rsdata.sandbox.earthengine.image import Band, Image, Pixels, Target
from rsdata.sandbox.earthengine.values import Projection, RequestError
from rsdata.sandbox.scenes import (
    COLLECTIONS,
    HARMONISED_FROM,
    PRODUCTS,
    Scene,
    pixels,
    scene_by_id,
    scenes_over,
)

UNTIL_MS = 1_893_456_000_000
"""2030: an open date range ends here."""
_SHIFTED = ("COPERNICUS/S2", "COPERNICUS/S2_SR")
OFFSET = 1000


def kind_of(collection: str) -> str:
    """The product of a collection.

    Raises:
        RequestError: there is no such collection.
    """
    kind = COLLECTIONS.get(collection)
    if kind is None:
        raise RequestError(
            f"ImageCollection.load: ImageCollection asset '{collection}' not found (does not exist or caller does not "
            "have access)."
        )
    return kind


def images_over(
    collection: str, region: shapely.Geometry, span: tuple[float, float], seed: int
) -> list[Image]:
    """Images whose footprint meets a region (degrees) and that start within a span of milliseconds."""
    kind = kind_of(collection)
    first = int(max(span[0], PRODUCTS[kind].since))
    last = int(min(span[1], UNTIL_MS))
    if last <= first:
        return []
    return [image_of(collection, scene) for scene in scenes_over(kind, region, first, last, seed)]


def image_named(asset: str, seed: int) -> Image | None:
    """`COPERNICUS/S2_SR_HARMONIZED/20200125T…`; None where there is none."""
    collection, _, index = asset.rpartition("/")
    if collection not in COLLECTIONS:
        return None
    scene = scene_by_id(COLLECTIONS[collection], index, seed)
    return None if scene is None else image_of(collection, scene)


def image_of(collection: str, scene: Scene) -> Image:
    """A scene as an image."""
    shifted = collection in _SHIFTED and scene.time >= HARMONISED_FROM
    bands = {}
    for name in scene.bands:
        band = scene.product.band(name)
        add = OFFSET if shifted and name.startswith("B") else 0
        height, width = scene.shape(band.gsd_m)
        bands[name] = Band(
            partial(_read, scene, name, add),
            band.dtype,
            Projection(scene.crs, scene.transform(band.gsd_m)),
            (width, height),
            None if add else (scene, name),
        )
    return Image(
        bands, _Lazy(partial(properties, scene)), f"{collection}/{scene.id}", _shape(scene.footprint)
    )


def _read(scene: Scene, name: str, add: int, target: Target) -> tuple[Pixels, Pixels]:
    values, valid = pixels(scene, name, target.transform, target.width, target.height, target.crs)
    if add:
        values = np.where(valid, values + np.uint16(add), np.uint16(0))
    return values, valid


@lru_cache(maxsize=4096)
def _shape(footprint: tuple[tuple[float, float], ...]) -> shapely.Polygon:
    return shapely.Polygon(footprint)


class _Lazy(Mapping[str, Any]):
    """Properties that are made when one is asked for."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make

    @cached_property
    def _values(self) -> dict[str, Any]:
        return self._make()

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def properties(scene: Scene) -> dict[str, Any]:
    """As Earth Engine lists them for the product."""
    ring = [[(lon + 180) % 360 - 180, lat] for lon, lat in scene.footprint]
    common = {
        "system:index": scene.id,
        "system:time_start": scene.time,
        "system:footprint": {"type": "LinearRing", "coordinates": ring},
        "system:asset_size": int(scene.width_m * scene.height_m / 40),
    }
    when = datetime.fromtimestamp(scene.time / 1000, UTC)
    clouds = scene.cloud_percent
    if scene.sensor in ("s2-l2a", "s2-l1c"):
        satellite = "AB"[scene.orbit % 2]
        level = "2A" if scene.sensor == "s2-l2a" else "1C"
        return common | {
            "CLOUDY_PIXEL_PERCENTAGE": clouds,
            "CLOUD_COVERAGE_ASSESSMENT": clouds,
            "DATATAKE_IDENTIFIER": f"GS2{satellite}_{scene.id[:15]}_{scene.orbit:06d}_N05.00",
            "GENERAL_QUALITY": "PASSED",
            "GENERATION_TIME": scene.time + 7_200_000,
            "MGRS_TILE": scene.tile,
            "PROCESSING_BASELINE": "04.00" if scene.time >= HARMONISED_FROM else "02.14",
            "PRODUCT_ID": f"S2{satellite}_MSIL{level}_{scene.id[:15]}_N0500_R{scene.orbit:03d}_T{scene.tile}_{scene.id[16:31]}",
            "SENSING_ORBIT_DIRECTION": "DESCENDING",
            "SENSING_ORBIT_NUMBER": scene.orbit,
            "SPACECRAFT_NAME": f"Sentinel-2{satellite}",
        }
    if scene.sensor == "s1-grd":
        return common | {
            "familyName": "SENTINEL-1",
            "instrumentMode": "IW",
            "orbitProperties_pass": "DESCENDING",
            "platform_number": scene.id[2],
            "productType": "GRD",
            "relativeOrbitNumber_start": scene.orbit,
            "resolution_meters": 10,
            "transmitterReceiverPolarisation": list(scene.bands),
        }
    if scene.sensor.startswith("landsat"):
        return common | {
            "CLOUD_COVER": clouds,
            "CLOUD_COVER_LAND": clouds,
            "DATE_ACQUIRED": f"{when:%Y-%m-%d}",
            "SPACECRAFT_ID": f"LANDSAT_{scene.sensor[-1]}",
            "WRS_PATH": int(scene.tile[:3]),
            "WRS_ROW": int(scene.tile[3:]),
        }
    return common
