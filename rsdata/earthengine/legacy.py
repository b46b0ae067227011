"""As the published downloader did it (ServiceNow/seasonal-contrast, datasets/seco_downloader.py): 8 bits, a JPEG a band.

`sampleRectangle` answers with every band on its own grid, cut to a box in degrees; the middle of it is taken. The
coordinates are the published ones too: those of the box, corrected by the first band and shifted by half a pixel, so
bands do not line up to the pixel. The default of this program does better on all counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.earthengine.session import Session
from rsdata.remote.retry import RemoteError
from rsdata.seasonal.place import place_facts, scene_facts, view_of
from rsdata.seasonal.scenes import SceneInfo, Window
from rsdata.sensors import Sensor, SensorBand
from rsdata.sources.base import Fetched, FetchError, Item
from shards.dataset import Band, Member
from shards.failures import FailureClass
from shards.sample import Sample
from shards.stats import Histogram

RADIUS_M = 1325.0
QUALITY = 75
"""GDAL's default for JPEG in GeoTIFF, which the published set has."""
Corners = tuple[tuple[float, float], tuple[float, float]]
"""(west, north), (east, south), degrees."""


def fetch_legacy(
    session: Session,
    sensor: Sensor,
    collection: str,
    item: Item,
    windows: Sequence[Window],
    scenes: Sequence[SceneInfo],
) -> Fetched:
    """The sample of a place, one request a scene; any masked pixel loses the whole place, as published.

    Raises:
        FetchError: a scene that does not fill the box, or an answer of another shape.
        RemoteError: the service failed.
    """
    from rsdata.sources.members import json_member

    if sensor.dtype != "uint16":
        raise FetchError(FailureClass.REFUSED, f"--legacy stores reflectance; {sensor.kind} has none")
    members: dict[str, bytes] = {}
    views, facts, histograms = [], [], []
    for number, (window, scene) in enumerate(zip(windows, scenes, strict=True)):
        pixels, corners = _sample(session, sensor, collection, scene, item)
        names = {band: f"{number:03d}.{band.lower()}.jpg" for band in pixels}
        members |= {names[band]: _jpeg(values) for band, values in pixels.items()}
        affine = published_affine(corners, next(iter(pixels.values())).shape)
        views.append(view_of(sensor, item, scene, window, "EPSG:4326", affine, list(names.values())))
        histograms.append(Histogram.beside([Histogram.of(values[..., None]) for values in pixels.values()]))
        facts.append(
            {
                **scene_facts(scene, window),
                "crs": "EPSG:4326",
                "corners": [list(corner) for corner in corners],
                "members": {
                    names[band]: {
                        "bands": [band],
                        "size": list(values.shape),
                        "transform": list(published_affine(corners, values.shape)),
                    }
                    for band, values in pixels.items()
                },
                "properties": dict(scene.properties),
            }
        )
    members["json"] = json_member({**place_facts(sensor, item, collection), "legacy": True, "views": facts})
    return Fetched(Sample(item.key, members, tuple(views)), Histogram.total(histograms))


def legacy_members(sensor: Sensor) -> list[Member]:
    """A member for each band, the finest first."""
    out = []
    for band in _finest_first(sensor):
        bands = [Band(name=band.name, wavelength_nm=band.wavelength_nm, unit="reflectance x 255")]
        side = sensor.side_at(band.gsd_m)
        out.append(
            Member(ending=f"{band.name.lower()}.jpg", dtype="uint8", shape=(side, side, 1), bands=bands)
        )
    return out


def to_uint8(numbers: NDArray[Any]) -> NDArray[np.uint8]:
    """Reflectance times 10000 to 8 bits: clipped to [0, 1], times 255, truncated (so 5000 is 127)."""
    return (np.clip(np.asarray(numbers) / 10000, 0, 1) * 255).astype(np.uint8)


def centre_crop(pixels: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """The middle of [H, W]; what is smaller than the crop comes back smaller, as published."""
    top, left = (
        int((have - want + 1) * 0.5) for have, want in zip(pixels.shape, (height, width), strict=True)
    )
    return pixels[top : top + height, left : left + width]


def cropped_corners(corners: Corners, before: tuple[int, int], after: tuple[int, int]) -> Corners:
    """Corners of the box after its pixels [H, W] were cropped round the middle."""
    (west, north), (east, south) = corners
    top, left = (int((have - want + 1) * 0.5) for have, want in zip(before, after, strict=True))
    bottom, right = before[0] - after[0] - top, before[1] - after[1] - left
    x, y = (east - west) / before[1], (south - north) / before[0]
    return (west + left * x, north + top * y), (east - right * x, south - bottom * y)


def published_affine(
    corners: Corners, size: tuple[int, ...]
) -> tuple[float, float, float, float, float, float]:
    """The transform of the published GeoTIFFs: half a pixel too far to the north-west."""
    (west, north), (east, south) = corners
    x, y = (east - west) / size[1], (south - north) / size[0]
    return (x, 0.0, west - x / 2, 0.0, y, north - y / 2)


def _sample(
    session: Session, sensor: Sensor, collection: str, scene: SceneInfo, item: Item
) -> tuple[dict[str, NDArray[np.uint8]], Corners]:
    """8-bit crops of each band, and the corners corrected by the first band."""
    import ee

    region = ee.Geometry.Point([item.lon, item.lat]).buffer(RADIUS_M).bounds()
    image = ee.Image(f"{collection}/{scene.id}").select([band.name for band in sensor.bands])
    try:
        answer = session.value(image.sampleRectangle(region))
    except RemoteError as error:
        if error.kind is FailureClass.INVALID:
            raise FetchError(FailureClass.GONE, f"{scene.id}: {error.reason}") from None
        raise
    try:
        arrays = {band.name: np.asarray(answer["properties"][band.name], np.float64) for band in sensor.bands}
        corners = _box(answer["geometry"])
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteError(
            FailureClass.INVALID, f"{session.host} sent a sample without its parts ({error})"
        ) from None
    pixels = {}
    for band in _finest_first(sensor):
        values, side = arrays[band.name], sensor.side_at(band.gsd_m)
        if values.ndim != 2 or min(values.shape) < side or not np.isfinite(values).all():
            raise FetchError(
                FailureClass.INVALID,
                f"{scene.id}: {band.name} has shape {values.shape}; {side} px are needed",
            )
        pixels[band.name] = to_uint8(centre_crop(values, side, side))
    first = sensor.bands[0]
    side = sensor.side_at(first.gsd_m)
    height, width = arrays[first.name].shape
    return pixels, cropped_corners(corners, (height, width), (side, side))


def _finest_first(sensor: Sensor) -> list[SensorBand]:
    return [band for gsd in sensor.resolutions for band in sensor.bands_at(gsd)]


def _box(geometry: Mapping[str, Any]) -> Corners:
    points = np.asarray(geometry["coordinates"][0], np.float64)
    (west, south), (east, north) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return (west, north), (east, south)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    import simplejpeg

    grey = np.ascontiguousarray(pixels[..., None])
    return bytes(simplejpeg.encode_jpeg(grey, quality=QUALITY, colorspace="GRAY", colorsubsampling="Gray"))
