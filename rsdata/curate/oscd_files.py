"""OSCD as it lies on disk (Caye Daudt et al. 2018): images and labels in three archives, a folder a city in each.

`<city>/imgs_1_rect/B01.tif` … `B12.tif`, all on the grid of 10 m, `<city>/imgs_2_rect/`, `<city>/dates.txt`,
`<city>/<city>.geojson`; `<city>/cm/cm.png` (0 and 255) and `<city>/cm/<city>-cm.tif` (1 and 2). The archives may lie side
by side in a folder or be merged into one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from shards.errors import ConfigError

TRAIN = (
    "aguasclaras", "bercy", "bordeaux", "nantes", "paris", "rennes", "saclay_e", "abudhabi", "cupertino", "pisa",
    "beihai", "hongkong", "beirut", "mumbai",
)  # fmt: skip
TEST = (
    "brasilia", "montpellier", "norcia", "rio", "saclay_w", "valencia", "dubai", "lasvegas", "milano", "chongqing",
)  # fmt: skip
"""As published; `train.txt` and `test.txt` beside the cities come first."""

_BAND = re.compile(r"(?:.*_)?(B(?:0[1-9]|1[0-2]|8A))\.tif\Z", re.IGNORECASE)
_DATE = re.compile(r"date_([12])\s*:\s*(\d{4})-?(\d\d)-?(\d\d)\b")


def find(root: Path, marker: str) -> dict[str, str]:
    """City -> its folder, relative to the root, of the folders that hold `marker`, up to three levels down.

    Raises:
        ConfigError: a city is there twice.
    """
    out: dict[str, str] = {}
    for pattern in (f"*/{marker}", f"*/*/{marker}", f"*/*/*/{marker}"):
        for path in sorted(root.glob(pattern)):
            folder = path.parent.relative_to(root).as_posix()
            if out.setdefault(path.parent.name, folder) != folder:
                raise ConfigError(
                    f"{root}: {path.parent.name} has a {marker} in {out[path.parent.name]} and in {folder}; keep one"
                )
    return out


def splits(root: Path, folders: Iterator[str] | list[str]) -> dict[str, str]:
    """City -> split, by the lists that lie beside the cities, else as published.

    Raises:
        ConfigError: a city stands in both lists.
    """
    out: dict[str, str] = {}
    for parent in sorted({Path(folder).parent for folder in folders}):
        for split in ("train", "test"):
            path = root / parent / f"{split}.txt"
            if path.is_file():
                for city in filter(None, re.split(r"[,\s]+", _text(path))):
                    if out.setdefault(city, split) != split:
                        raise ConfigError(f"{path}: {city} stands in both train.txt and test.txt")
    return out or dict.fromkeys(TRAIN, "train") | dict.fromkeys(TEST, "test")


def band_files(folder: Path) -> dict[str, Path]:
    """`B01` … `B12`, `B8A` -> file."""
    found = ((_BAND.match(path.name), path) for path in sorted(folder.iterdir()))
    return {match[1].upper(): path for match, path in found if match}


def dates(folder: Path) -> list[str | None]:
    """The two dates of dates.txt, ISO 8601; None where it does not tell, or is not there.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / "dates.txt"
    found = {
        number: f"{year}-{month}-{day}"
        for number, year, month, day in _DATE.findall(_text(path) if path.is_file() else "")
    }
    return [found.get("1"), found.get("2")]


def middle(folder: Path) -> tuple[float | None, float | None]:
    """Longitude and latitude of the middle of the city's GeoJSON, degrees; None without one.

    Raises:
        ConfigError: it cannot be understood.
    """
    path = folder / f"{folder.name}.geojson"
    if not path.is_file():
        return None, None
    try:
        points = list(_points(json.loads(path.read_bytes())))
        lon, lat = zip(*points, strict=True)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ConfigError(
            f"{path}: cannot be understood ({error}); expected GeoJSON with a polygon"
        ) from None
    return (min(lon) + max(lon)) / 2, (min(lat) + max(lat)) / 2


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); unpack it again") from None


def _points(value: object) -> Iterator[tuple[float, float]]:
    """Every position in a GeoJSON object."""
    if isinstance(value, dict):
        for key in ("features", "geometry", "geometries", "coordinates"):
            if value.get(key) is not None:
                yield from _points(value[key])
    elif isinstance(value, list):
        if len(value) >= 2 and all(isinstance(number, int | float) for number in value):
            yield float(value[0]), float(value[1])
        else:
            for part in value:
                yield from _points(part)
