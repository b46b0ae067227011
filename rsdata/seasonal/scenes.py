"""Scenes of a place and which of them may serve: the rule, the footprint, one CRS for all seasons. Of no provider."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from rsdata.seasonal.grid import Affine, PatchGrid, native_crs, patch_grid, to_crs
from rsdata.sensors import Sensor
from rsdata.sources.base import FetchError

Rule = Literal["latest", "least-cloudy"]
Window = tuple[str, str]
"""First day and the day after the last, ISO 8601."""


@dataclass(frozen=True)
class SceneInfo:
    """What a catalogue says of one scene."""

    id: str
    """`system:index`, such as 20200125T080119_20200125T081343_T36QZH."""
    time_ms: int
    """Of the acquisition, since 1970."""
    cloud_percent: float | None
    crs: str
    natives: Mapping[int, Affine]
    """Resolution in metres -> affine of its own grid."""
    rings: tuple[tuple[tuple[float, float], ...], ...] = ()
    """Outer rings of the footprint in degrees; empty where the catalogue has none."""
    properties: Mapping[str, Any] = field(default_factory=dict)

    @property
    def time(self) -> str:
        """ISO 8601, UTC."""
        return (
            datetime.fromtimestamp(self.time_ms / 1000, UTC)
            .isoformat(timespec="seconds")
            .replace("+00:00", "Z")
        )


@dataclass(frozen=True)
class Choice:
    """One way to serve all seasons of a place from one grid."""

    grid: PatchGrid
    seasons: tuple[tuple[SceneInfo, ...], ...]
    """Of each window the scenes that cover the whole patch, the best first."""


def ranked(scenes: Sequence[SceneInfo], rule: Rule) -> list[SceneInfo]:
    """The best first; ties are broken by time and name, never by the order of the answer."""
    latest = sorted(scenes, key=lambda s: (-s.time_ms, s.id))
    if rule == "latest":
        return latest
    return sorted(latest, key=lambda s: math.inf if s.cloud_percent is None else s.cloud_percent)


def choices(
    sensor: Sensor,
    windows: Sequence[Window],
    seasons: Sequence[Sequence[SceneInfo]],
    lon: float,
    lat: float,
    rule: Rule,
) -> list[Choice]:
    """Every CRS in which each window has a scene that covers the whole patch; the zone of the place first.

    Raises:
        FetchError: `gone`, where there is none.
    """
    from shards.failures import FailureClass

    for window, scenes in zip(windows, seasons, strict=True):
        if not scenes:
            raise FetchError(FailureClass.GONE, f"no scene in {span(window)}")
    home = native_crs(lon, lat)
    names = sorted({s.crs for scenes in seasons for s in scenes}, key=lambda crs: (crs != home, crs))
    found: list[Choice] = []
    missing: list[list[Window]] = []
    for crs in names:
        inside = [[scene for scene in scenes if scene.crs == crs] for scenes in seasons]
        first = min((s for scenes in inside for s in scenes), key=lambda s: s.id)
        try:
            grid = patch_grid(sensor, crs, first.natives, lon, lat)
        except ValueError:
            continue
        fit = [[scene for scene in scenes if covers(scene, grid)] for scenes in inside]
        missing.append([window for window, scenes in zip(windows, fit, strict=True) if not scenes])
        if not missing[-1]:
            found.append(Choice(grid, tuple(tuple(ranked(scenes, rule)) for scenes in fit)))
    if not found:
        least = min(missing, key=len, default=list(windows))
        raise FetchError(
            FailureClass.GONE, f"no scene in {', '.join(map(span, least))} covers the whole patch"
        )
    return found


def covers(scene: SceneInfo, grid: PatchGrid) -> bool:
    """Whether the footprint holds the whole patch; without a footprint the pixels must tell."""
    import shapely

    if not scene.rings:
        return True
    patch = shapely.box(*grid.bounds())
    for ring in scene.rings:
        points = to_crs(grid.crs, list(ring))
        if not all(math.isfinite(x) and math.isfinite(y) for x, y in points):
            return True
        outline = shapely.Polygon(points)
        if not outline.is_valid:
            outline = shapely.make_valid(outline)
        if outline.covers(patch):
            return True
    return False


def outer_rings(geometry: Any) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Outer rings of a GeoJSON LinearRing, Polygon or MultiPolygon; nothing for what is not one."""
    try:
        kind, coordinates = geometry["type"], geometry["coordinates"]
        found = {
            "LinearRing": lambda: [coordinates],
            "Polygon": lambda: [coordinates[0]],
            "MultiPolygon": lambda: [polygon[0] for polygon in coordinates],
        }[kind]()
        rings = tuple(tuple((float(p[0]), float(p[1])) for p in ring) for ring in found)
    except (KeyError, TypeError, ValueError, IndexError):
        return ()
    return rings if all(len(ring) >= 4 for ring in rings) else ()


def span(window: Window) -> str:
    """`2020-03-12/2020-03-27`."""
    return "/".join(window)
