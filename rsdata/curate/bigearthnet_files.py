"""BigEarthNet as it lies on disk: a folder a patch, a TIFF a band, and a JSON with labels and place (v1, S1 and S2).

`BigEarthNet-v1.0/S2A_MSIL2A_20170613T101031_61_39/…_B02.tif`, and `BigEarthNet-S1-v1.0/S1A_IW_GRDH_…/…_VV.tif`, each
beside `…_labels_metadata.json` (Sumbul et al. 2019 and 2021, bigearth.net).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from rsdata.curate.bigearthnet_labels import numbers_43
from shards.errors import ConfigError

SIDE_M = 1200
"""Of a patch, on the ground."""
NAMES = {"s2": re.compile(r"S2[A-D]_MSIL2A_.*_\d+_\d+\Z"), "s1": re.compile(r"S1[A-D]_IW_GRDH_.*_\d+_\d+\Z")}
"""Folders of patches of each sensor."""
_DEPTH = 2


class _Corners(msgspec.Struct):
    ulx: float
    uly: float
    lrx: float
    lry: float | None = None
    lly: float | None = None  # the radar patches spell it so


class _Metadata(msgspec.Struct):
    labels: list[str]
    coordinates: _Corners
    projection: str
    acquisition_date: str | None = None
    acquisition_time: str | None = None
    tile_source: str | None = None
    scene_source: str | None = None
    corresponding_s2_patch: str | None = None


@dataclass(frozen=True)
class Patch:
    """What the JSON of a patch says."""

    labels: tuple[int, ...]
    """Numbers among the 43 classes, ascending."""
    crs: str
    """`EPSG:32629`."""
    corner: tuple[float, float]
    """x and y of the upper-left corner, metres."""
    time: str
    """ISO 8601, UTC."""
    scene: str
    """The product it was cut from."""
    s2_patch: str
    """Of a radar patch: the optical one of the same ground; of an optical one empty."""


_decoder = msgspec.json.Decoder(_Metadata)


def parse(data: bytes) -> Patch:
    """A `…_labels_metadata.json`.

    Raises:
        ValueError: not such a JSON, a class that is none of the 43, or a patch of another size.
    """
    meta = _decoder.decode(data)
    at = meta.coordinates
    bottom = at.lry if at.lry is not None else at.lly
    if at.lrx - at.ulx != SIDE_M or bottom is None or at.uly - bottom != SIDE_M:
        raise ValueError(f"the corners {msgspec.to_builtins(at)} do not span {SIDE_M} m each way")
    when = meta.acquisition_date or meta.acquisition_time
    if when is None:
        raise ValueError("has neither acquisition_date nor acquisition_time")
    try:
        labels = numbers_43(meta.labels)
    except KeyError as error:
        raise ValueError(f"the label {error} is none of the 43 classes") from None
    return Patch(
        labels=tuple(labels),
        crs=_crs(meta.projection),
        corner=(at.ulx, at.uly),
        time=datetime.fromisoformat(when).replace(tzinfo=UTC).isoformat(),
        scene=meta.tile_source or meta.scene_source or "",
        s2_patch=meta.corresponding_s2_patch or "",
    )


def read_patch(root: Path, folder: str) -> Patch | str:
    """What the JSON of a patch says, or why it is of no use."""
    path = f"{folder}/{folder.rpartition('/')[2]}_labels_metadata.json"
    try:
        return parse((root / path).read_bytes())
    except FileNotFoundError:
        return f"{path}: there is no such file, so nobody knows the labels"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    except (ValueError, RecursionError) as error:  # msgspec's are of the first kind
        return f"{path}: {error}"


def find_patches(root: Path, sensor: str) -> list[str]:
    """Folders of the patches of a sensor in a root or up to two levels below, relative to it, sorted by name.

    Raises:
        ConfigError: there are none, one stands there twice, or a folder cannot be listed.
    """
    found = sorted(_walk(root, "", NAMES[sensor], _DEPTH), key=lambda path: path.rpartition("/")[2])
    if not found:
        raise ConfigError(
            f"{root}: holds no folder of a patch such as "
            + ("S2A_MSIL2A_20170613T101031_61_39" if sensor == "s2" else "S1A_IW_GRDH_1SDV_…_33UUP_61_39")
            + f"; is --root the folder of BigEarthNet, and --sensor {sensor} right?"
        )
    for before, path in pairwise(found):
        if (name := path.rpartition("/")[2]) == before.rpartition("/")[2]:
            raise ConfigError(f"{root}: the patch {name} is there twice, once as {path}; remove one")
    return found


def lon_lat(patches: Sequence[Patch]) -> NDArray[np.float64]:
    """Degrees of the middles, [n, 2]; all patches of a zone are projected at once."""
    from pyproj import Transformer

    out = np.empty((len(patches), 2))
    zone = np.array([patch.crs for patch in patches])
    half = np.array([SIDE_M / 2, -SIDE_M / 2])
    middle = np.array([patch.corner for patch in patches]).reshape(-1, 2) + half
    for crs in dict.fromkeys(zone.tolist()):
        here = zone == crs
        to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        out[here] = np.stack(to_degrees.transform(*middle[here].T), axis=1)
    return out


def _walk(root: Path, folder: str, name: re.Pattern[str], depth: int) -> Iterator[str]:
    try:
        with os.scandir(root / folder) as entries:
            folders = [entry.name for entry in entries if entry.is_dir()]
    except OSError as error:
        raise ConfigError(
            f"{root / folder}: cannot be listed ({error.strerror}); give --root a folder"
        ) from None
    for entry in folders:
        path = f"{folder}/{entry}" if folder else entry
        if name.match(entry):
            yield path
        elif depth and not any(other.match(entry) for other in NAMES.values()):
            yield from _walk(root, path, name, depth - 1)


@lru_cache(maxsize=256)
def _crs(wkt: str) -> str:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        code = CRS.from_wkt(wkt).to_epsg()
    except CRSError:
        code = None
    if code is None:
        raise ValueError(f"the projection {wkt[:60]!r} has no EPSG code")
    return f"EPSG:{code}"
