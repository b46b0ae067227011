"""From scenes and pixels to the sample of a place. Of no provider: it is told how to read a scene."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rsdata.bands import histogram_of
from rsdata.seasonal.grid import Affine, PatchGrid, on_grid
from rsdata.seasonal.scenes import Choice, Rule, SceneInfo, Window, span
from rsdata.sensors import CloudMask, Sensor
from rsdata.sources.base import Fetched, FetchError, Item
from shards.failures import FailureClass
from shards.raster import encode_raster
from shards.sample import Sample, View
from shards.stats import Histogram


class Wanted(Protocol):
    """What is wanted of a place, whoever provides it; the options of a source have it."""

    @property
    def sensor(self) -> str:
        """A row of `rsdata.sensors`."""

    @property
    def scene(self) -> Rule:
        """`latest` or `least-cloudy`."""

    @property
    def cloud_percent(self) -> float | None:
        """Scenes with as many clouds or more are not taken; None takes any."""

    @property
    def patch_cloud_percent(self) -> float | None:
        """Scenes with more clouds on the patch itself are passed over; None takes any."""


class UnfitError(Exception):
    """A scene that cannot serve this place; the next one may."""

    def __init__(self, reason: str, kind: FailureClass = FailureClass.GONE) -> None:
        super().__init__(reason)
        self.reason, self.kind = reason, kind


@dataclass(frozen=True)
class Pixels:
    """One scene on the grid of a place."""

    bands: Mapping[int, NDArray[Any]]
    """Resolution in metres -> [C, H, W] in the order of the sensor's table."""
    cloudy: NDArray[np.bool_] | None = None
    """Pixels under clouds; None where nobody asked."""


@dataclass(frozen=True)
class _Taken:
    """The scene that serves one window."""

    window: Window
    scene: SceneInfo
    pixels: Pixels
    cloud_percent: float | None
    """Of the patch itself."""


def windows_of(item: Item) -> list[Window]:
    """The windows of a planned place, oldest first."""
    return sorted((str(start), str(end)) for start, end in json.loads(item.facts)["windows"])


def cloudy(mask: CloudMask, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels of a cloud band are cloudy."""
    out = np.isin(values, mask.classes)
    if mask.bits:
        out |= (values.astype(np.int64) & sum(1 << bit for bit in mask.bits)) != 0
    if mask.above is not None:
        out |= values > mask.above
    return out


def assemble(
    sensor: Sensor,
    item: Item,
    windows: Sequence[Window],
    options: Sequence[Choice],
    read: Callable[[SceneInfo, PatchGrid], Pixels],
    *,
    collection: str,
    patch_cloud_percent: float | None,
) -> Fetched:
    """The sample of a place: of each window the best scene that is whole and clear enough, all on one grid.

    Args:
        sensor: which bands.
        item: the place.
        windows: oldest first.
        options: ways to serve them, the best first.
        read: pixels of one scene; raises UnfitError.
        collection: for the facts.
        patch_cloud_percent: scenes with more clouds on the patch are passed over; None takes any.

    Raises:
        FetchError: no option has a scene for every window.
    """
    failure: FetchError | None = None
    for option in options:
        try:
            taken = [
                _take(window, scenes, option.grid, read, patch_cloud_percent)
                for window, scenes in zip(windows, option.seasons, strict=True)
            ]
        except FetchError as error:
            failure = failure or error
            continue
        histogram = Histogram.total([histogram_of(one.pixels.bands) for one in taken])
        return Fetched(_sample(sensor, item, option.grid, taken, collection), histogram)
    assert failure is not None
    raise failure


def _take(
    window: Window,
    scenes: Sequence[SceneInfo],
    grid: PatchGrid,
    read: Callable[[SceneInfo, PatchGrid], Pixels],
    limit: float | None,
) -> _Taken:
    reasons: list[UnfitError] = []
    for scene in scenes:
        try:
            pixels = read(scene, grid)
        except UnfitError as error:
            reasons.append(error)
            continue
        percent = None if pixels.cloudy is None else 100 * float(pixels.cloudy.mean())
        if percent is not None and limit is not None and percent > limit:
            reasons.append(UnfitError(f"{scene.id}: clouds over {percent:.1f} % of the patch"))
            continue
        return _Taken(window, scene, pixels, percent)
    kinds = {error.kind for error in reasons}
    kind = FailureClass.GONE if FailureClass.GONE in kinds else reasons[0].kind
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    why = "; ".join(error.reason for error in reasons[:3])
    raise FetchError(kind, f"no usable scene in {span(window)}: {why}{more}")


def _sample(sensor: Sensor, item: Item, grid: PatchGrid, taken: Sequence[_Taken], collection: str) -> Sample:
    from rsdata.sources.members import json_member

    members: dict[str, bytes] = {}
    views, facts = [], []
    for number, one in enumerate(taken):
        names = {gsd: f"{number:03d}.b{gsd}.b2nd" for gsd in sensor.resolutions}
        for gsd, name in names.items():
            members[name] = encode_raster(one.pixels.bands[gsd])
        affine = grid.affine(sensor.finest_m)
        views.append(view_of(sensor, item, one.scene, one.window, grid.crs, affine, list(names.values())))
        facts.append(
            {
                **scene_facts(one.scene, one.window),
                "patch_cloud_percent": one.cloud_percent,
                "crs": grid.crs,
                "transform": list(affine),
                "resampled": not on_grid(grid, one.scene.natives),
                "members": {
                    name: {
                        "gsd_m": gsd,
                        "size": [grid.side_px(gsd), grid.side_px(gsd)],
                        "transform": list(grid.affine(gsd)),
                        "bands": [band.name for band in sensor.bands_at(gsd)],
                    }
                    for gsd, name in names.items()
                },
            }
        )
    members["json"] = json_member({**place_facts(sensor, item, collection), "views": facts})
    return Sample(item.key, members, tuple(views))


def view_of(
    sensor: Sensor,
    item: Item,
    scene: SceneInfo,
    window: Window,
    crs: str,
    affine: Affine,
    members: Sequence[str],
) -> View:
    """The row of the index of one season.

    Args:
        sensor: what it is of.
        item: the place.
        scene: that serves the season.
        window: the season.
        crs: of the pixels.
        affine: of the finest pixels.
        members: all that hold its bands, the finest first.
    """
    side = sensor.side_px
    return View(
        member=members[0],
        parts=tuple(members[1:]),
        width=side,
        height=side,
        split=item.split,
        lon=item.lon,
        lat=item.lat,
        time=scene.time,
        gsd_m=float(sensor.finest_m),
        source=f"{sensor.kind}/{scene.id}",
        licence=sensor.licence,
        extra={
            "scene": scene.id,
            "crs": crs,
            "transform": " ".join(f"{number:.12g}" for number in affine),
            "cloud_percent": scene.cloud_percent,
            "window": span(window),
        },
    )


def scene_facts(scene: SceneInfo, window: Window) -> dict[str, Any]:
    """What the facts of a view say of its scene."""
    return {
        "scene": scene.id,
        "time": scene.time,
        "window": list(window),
        "cloud_percent": scene.cloud_percent,
    }


def place_facts(sensor: Sensor, item: Item, collection: str) -> dict[str, Any]:
    """What the facts of a sample say of its place."""
    return {
        "id": item.id,
        "lon": item.lon,
        "lat": item.lat,
        "split": item.split,
        "shift_days": json.loads(item.facts).get("shift_days"),
        "sensor": sensor.kind,
        "collection": collection,
    }
