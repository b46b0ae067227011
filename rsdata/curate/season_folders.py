"""Seasons of places as the downloader of SeCo stored them: `<place>/<scene>/B1.tif` … `B12.tif` and `metadata.json`.

A scene is a `system:index` of Earth Engine, `20200125T080119_20200125T081343_T36QZH`; `<place>/<scene>.tif` beside it is a
preview (seco_100k has them). SeCo writes the properties of the image flat, SSL4EO-S12 within `properties`.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from shards.errors import ConfigError

_SCENE = re.compile(r"(\d{8}T\d{6})(?:_.*)?\Z")
_DEPTH = 2


def find_places(root: Path) -> tuple[str, dict[str, list[str]]]:
    """Folder with the places, relative to the root, and place -> its scenes in order of time.

    Raises:
        ConfigError: there are none in the root nor in its only folders.
    """
    at = root
    for _ in range(_DEPTH + 1):
        folders = _folders(at)
        places = {name: [scene for scene in _folders(at / name) if _SCENE.match(scene)] for name in folders}
        if any(places.values()):
            return at.relative_to(root).as_posix(), places
        if len(folders) != 1:
            break
        at = at / folders[0]
    raise ConfigError(f"{root}: expected <place>/<scene>/B2.tif with scenes such as 20200125T080119_…")


def read_properties(path: Path) -> dict[str, Any]:
    """The properties of the image in a metadata.json.

    Raises:
        OSError: it is not there.
        ValueError: it is no such JSON.
    """
    try:
        values = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except RecursionError:
        raise ValueError("nested too deeply") from None
    inner = values.get("properties")
    return inner if isinstance(inner, dict) else values


def time_of(scene: str, properties: dict[str, Any]) -> str:
    """When a scene was sensed, ISO 8601, UTC: by `system:time_start` (milliseconds), else by its name.

    Raises:
        ValueError: neither is a time.
    """
    start = properties.get("system:time_start")
    if isinstance(start, int | float):
        try:
            return datetime.fromtimestamp(start / 1000, UTC).isoformat(timespec="milliseconds")
        except (OverflowError, OSError):
            raise ValueError(f"system:time_start {start:g} is no time") from None
    found = _SCENE.match(scene)
    if found is None:
        raise ValueError(f"{scene}: is not named by its time, and has no system:time_start")
    return datetime.strptime(found[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).isoformat()


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be listed ({error.strerror}); give --root a folder") from None
