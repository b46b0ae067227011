"""A planned place from a STAC API: a search a season, then windows of the files of one scene each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import numpy as np

from rsdata.remote.retry import Backoff, RemoteError
from rsdata.seasonal.grid import PatchGrid
from rsdata.seasonal.place import Pixels, UnfitError, Wanted, assemble, cloudy, windows_of
from rsdata.seasonal.scenes import SceneInfo, Window, choices, ranked
from rsdata.sensors import SENSORS, Sensor
from rsdata.sources.base import Fetched, FetchError, Item
from rsdata.stac.client import Catalogue, Service, open_catalogue
from rsdata.stac.cogs import read_window
from rsdata.stac.items import added_to, asset_of, scene_of
from shards.errors import ConfigError
from shards.failures import FailureClass

MOST = 24
"""Scenes of one season that are looked at."""


class Options(Service, Wanted, Protocol):
    """What is wanted and of which service; the options of a source have it."""


def check_ready(source: Options) -> None:
    """Connect once, so that what would stop every place is said before the first.

    Raises:
        ConfigError: no API at the endpoint, or not the collection.
    """
    sensor, collection = _sensor(source)
    catalogue = open_catalogue(source, backoff=Backoff(attempts=5, total_s=20))
    try:
        catalogue.api.get_collection(collection)
    except RemoteError as error:
        known = FailureClass.GONE is error.kind
        raise ConfigError(
            f"{catalogue.endpoint}: has no collection {collection!r} for --sensor {sensor.kind}; give another --endpoint"
            if known
            else f"{catalogue.endpoint}: cannot be used ({error.reason}); check --endpoint and the network"
        ) from None


def fetch_place(source: Options, item: Item) -> Fetched:
    """All seasons of a place. Safe to call from several threads.

    Raises:
        FetchError: `gone` (no scene), `transient` (the network), `invalid` (answers that are not what was asked for).
    """
    assert item.lon is not None and item.lat is not None
    sensor, collection = _sensor(source)
    windows = windows_of(item)
    catalogue = open_catalogue(source)
    items: dict[str, Mapping[str, Any]] = {}
    try:
        seasons = []
        for window in windows:
            found = _listed(catalogue, sensor, collection, item, window, source.cloud_percent)
            if not found:
                break  # one season without a scene settles it
            items |= {scene.id: listed for scene, listed in found}
            seasons.append(ranked([scene for scene, _ in found], source.scene)[:MOST])
        seasons += [[] for _ in windows[len(seasons) :]]
        clouds = source.patch_cloud_percent is not None
        return assemble(
            sensor,
            item,
            windows,
            choices(sensor, windows, seasons, item.lon, item.lat, source.scene),
            lambda scene, grid: _pixels(catalogue, sensor, scene, items[scene.id], grid, clouds=clouds),
            collection=collection,
            patch_cloud_percent=source.patch_cloud_percent,
        )
    except RemoteError as error:
        raise FetchError(error.kind, error.reason) from None


def _sensor(source: Options) -> tuple[Sensor, str]:
    sensor = SENSORS[source.sensor]
    if sensor.stac_collection is None:
        known = ", ".join(kind for kind, row in SENSORS.items() if row.stac_collection)
        raise ConfigError(
            f"--sensor {sensor.kind}: is not read through STAC; choose {known}, or leave out --provider stac"
        )
    return sensor, sensor.stac_collection


def _listed(
    catalogue: Catalogue,
    sensor: Sensor,
    collection: str,
    item: Item,
    window: Window,
    cloud_percent: float | None,
) -> list[tuple[SceneInfo, Mapping[str, Any]]]:
    """The scenes of a window below the limit of clouds, with their items."""
    start, end = (datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC) for day in window)
    below = {} if cloud_percent is None else {sensor.stac_cloud_property: cloud_percent}
    last = (end - timedelta(milliseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.999Z")
    assert item.lon is not None and item.lat is not None
    first = start.strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = catalogue.search(collection, item.lon, item.lat, first, last, below)
    try:
        found = [(scene_of(sensor, listed), listed) for listed in answer]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RemoteError(
            FailureClass.INVALID, f"{catalogue.host} lists a scene without what it needs ({error!r})"
        ) from None
    span = (start.timestamp() * 1000, end.timestamp() * 1000)
    return [
        (scene, listed)
        for scene, listed in found
        if span[0] <= scene.time_ms < span[1]
        and (
            cloud_percent is None or (scene.cloud_percent is not None and scene.cloud_percent < cloud_percent)
        )
    ]


def _pixels(
    catalogue: Catalogue,
    sensor: Sensor,
    scene: SceneInfo,
    item: Mapping[str, Any],
    grid: PatchGrid,
    *,
    clouds: bool,
) -> Pixels:
    """All bands of a scene on the grid.

    Raises:
        UnfitError: a file is missing, of another grid, or has no data here.
        RemoteError: the network.
    """
    mask = sensor.cloud_mask if clouds else None
    try:
        covered = None
        if mask is not None:
            asset = _asset(item, mask.asset, mask.band)
            values, _ = read_window(catalogue, str(asset["href"]), grid, mask.gsd_m)
            covered = cloudy(mask, values)
        bands = {}
        for band in sensor.bands:
            asset = _asset(item, band.asset, band.name)
            values, valid = read_window(catalogue, str(asset["href"]), grid, band.gsd_m)
            if not valid.all():
                share = 100 - 100 * float(valid.mean())
                raise UnfitError(f"{share:.1f} % of the patch has no data in {band.name}")
            added = added_to(sensor, item, asset)
            lowered = np.maximum(values.astype(np.int32) - added, 0) if added else values
            bands[band.name] = lowered.astype(sensor.dtype)
    except UnfitError as error:
        raise UnfitError(f"{scene.id}: {error.reason}", error.kind) from None
    return Pixels(
        {gsd: np.stack([bands[b.name] for b in sensor.bands_at(gsd)]) for gsd in sensor.resolutions}, covered
    )


def _asset(item: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    asset = asset_of(item, *names)
    if asset is None:
        raise UnfitError(f"has no file for {names[-1]}", FailureClass.INVALID)
    return asset
