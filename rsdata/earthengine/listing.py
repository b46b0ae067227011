"""One request a place: the scenes of all seasons, from Earth Engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rsdata.earthengine.session import Session
from rsdata.remote.retry import RemoteError
from rsdata.seasonal.grid import Affine
from rsdata.seasonal.scenes import Rule, SceneInfo, Window, outer_rings
from rsdata.sensors import Sensor
from shards.failures import FailureClass

MOST = 24
"""Scenes of one season that are looked at: two zones, four tiles and three passes."""


def list_scenes(
    session: Session,
    sensor: Sensor,
    collection: str,
    windows: Sequence[Window],
    lon: float,
    lat: float,
    *,
    rule: Rule,
    cloud_percent: float | None,
) -> list[list[SceneInfo]]:
    """The scenes of each window whose footprint holds the point and whose clouds are below the limit.

    Raises:
        RemoteError: the service failed, or its answer is not a listing.
    """
    answer = session.value(_expression(sensor, collection, windows, lon, lat, rule, cloud_percent))
    if not isinstance(answer, list) or len(answer) != len(windows):
        raise RemoteError(
            FailureClass.TRANSIENT, f"{session.host} sent a listing of another shape than asked for"
        )
    try:
        return [[_scene(sensor, image) for image in images] for images in answer]
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise RemoteError(
            FailureClass.INVALID, f"{session.host} lists a scene without what it needs ({error!r})"
        ) from None


def _expression(
    sensor: Sensor,
    collection: str,
    windows: Sequence[Window],
    lon: float,
    lat: float,
    rule: Rule,
    cloud_percent: float | None,
) -> Any:
    import ee

    scenes = ee.ImageCollection(collection)
    for name, operator, value in sensor.filters:
        wanted = ee.Filter.eq(name, value) if operator == "equals" else ee.Filter.listContains(name, value)
        scenes = scenes.filter(wanted)
    if sensor.cloud_property and cloud_percent is not None:
        scenes = scenes.filter(ee.Filter.lt(sensor.cloud_property, cloud_percent))
        scenes = scenes.filter(ee.Filter.gte(sensor.cloud_property, 0))  # Landsat writes -1 for unknown
    scenes = scenes.filterBounds(ee.Geometry.Point([lon, lat])).select(list(_leading(sensor).values()))
    by_cloud = rule == "least-cloudy" and sensor.cloud_property
    key, ascending = (sensor.cloud_property, True) if by_cloud else ("system:time_start", False)
    return ee.List(
        [scenes.filterDate(*window).limit(MOST, key, ascending).toList(MOST) for window in windows]
    )


def _leading(sensor: Sensor) -> dict[int, str]:
    """One band of each resolution: it tells the grid."""
    return {gsd: sensor.bands_at(gsd)[0].name for gsd in sensor.resolutions}


def _scene(sensor: Sensor, image: Mapping[str, Any]) -> SceneInfo:
    properties = image["properties"]
    bands = {band["id"]: band for band in image["bands"]}
    natives = {gsd: _affine(bands[name]["crs_transform"]) for gsd, name in _leading(sensor).items()}
    cloud = properties.get(sensor.cloud_property) if sensor.cloud_property else None
    return SceneInfo(
        id=str(properties.get("system:index") or str(image["id"]).rpartition("/")[2]),
        time_ms=int(properties["system:time_start"]),
        cloud_percent=None if cloud is None else float(cloud),
        crs=str(bands[_leading(sensor)[sensor.finest_m]]["crs"]),
        natives=natives,
        rings=outer_rings(properties.get("system:footprint")),
        properties={key: value for key, value in properties.items() if key != "system:footprint"},
    )


def _affine(numbers: Sequence[float]) -> Affine:
    a, b, c, d, e, f = (float(number) for number in numbers)
    if not all(map(math.isfinite, (a, b, c, d, e, f))):
        raise ValueError("a transform that is not finite")
    return a, b, c, d, e, f
