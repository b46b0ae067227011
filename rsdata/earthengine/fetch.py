"""A planned place from Earth Engine: one listing, then one scene a season, in as few requests as is exact."""

from __future__ import annotations

from typing import Protocol

from rsdata.earthengine.listing import list_scenes
from rsdata.earthengine.session import Account, Session, open_session
from rsdata.remote.retry import RemoteError
from rsdata.seasonal.place import Wanted, assemble, windows_of
from rsdata.seasonal.scenes import Rule, SceneInfo, choices
from rsdata.sensors import SENSORS
from rsdata.sources.base import Fetched, FetchError, Item


class Options(Account, Wanted, Protocol):
    """What is wanted and of which account; the options of a source have it."""

    @property
    def legacy(self) -> bool:
        """Whether to do as the published downloader did."""


def check_ready(source: Account) -> None:
    """Connect once, so that what would stop every place is said before the first.

    Raises:
        ConfigError: no credentials, no project, no access, nothing answers.
    """
    open_session(source)


def fetch_place(source: Options, item: Item, session: Session | None = None) -> Fetched:
    """All seasons of a place. Safe to call from several threads.

    Args:
        source: options.
        item: the place.
        session: to ask; by default that of the options.

    Raises:
        FetchError: `gone` (no scene), `transient` (the network, also damaged answers), `invalid` (the service will not).
        ConfigError: access is denied: no further place would do better.
    """
    assert item.lon is not None and item.lat is not None
    sensor = SENSORS[source.sensor]
    collection = sensor.legacy_collection if source.legacy else sensor.collection
    windows = windows_of(item)
    session = session or open_session(source)
    try:
        seasons = list_scenes(
            session,
            sensor,
            collection,
            windows,
            item.lon,
            item.lat,
            rule=source.scene,
            cloud_percent=source.cloud_percent,
        )
        if source.legacy:
            from rsdata.earthengine.legacy import fetch_legacy

            return fetch_legacy(
                session, sensor, collection, item, windows, _first(windows, seasons, source.scene)
            )
        from rsdata.earthengine.pixels import fetch_pixels

        clouds = source.patch_cloud_percent is not None
        return assemble(
            sensor,
            item,
            windows,
            choices(sensor, windows, seasons, item.lon, item.lat, source.scene),
            lambda scene, grid: fetch_pixels(session, sensor, collection, scene, grid, clouds=clouds),
            collection=collection,
            patch_cloud_percent=source.patch_cloud_percent,
        )
    except RemoteError as error:
        raise FetchError(error.kind, error.reason) from None


def _first(windows: list[tuple[str, str]], seasons: list[list[SceneInfo]], rule: Rule) -> list[SceneInfo]:
    """The one scene that the published downloader would take, whether it covers the patch or not."""
    from rsdata.seasonal.scenes import ranked, span
    from shards.failures import FailureClass

    for window, scenes in zip(windows, seasons, strict=True):
        if not scenes:
            raise FetchError(FailureClass.GONE, f"no scene in {span(window)}")
    return [ranked(scenes, rule)[0] for scenes in seasons]
