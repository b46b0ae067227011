"""SpaceNet 7 as it lies on disk: months of areas (Van Etten et al. 2021).

Layout: `train/<area>/{images,images_masked,labels,UDM_masks}/` and `test_public/<area>/images_masked/`; an image is
`global_monthly_<yyyy>_<mm>_mosaic_<area>.tif`. `labels` holds two kinds of GeoJSON a month, `…_Buildings` and `…_UDM`;
`UDM_masks/<stem>_UDM.tif` is there only for months with clouds. The letters E and N in an area's name are grid numbers
of the provider, no degrees.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shards.errors import UserError

PARTS = ("train", "test_public")
MASKED = "images_masked"
_STEM = r"global_monthly_(\d{4})_(0[1-9]|1[0-2])_mosaic_"
_JUNK = frozenset({"Thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Month:
    """One image of an area."""

    area: str
    month: str
    """`2018-01`."""
    path: str
    """Relative to the root, with `/`."""
    size: int
    """Bytes."""
    udm: str | None
    """Its cloud mask; None where the release has none: a month without clouds, or the public test areas."""

    @property
    def name(self) -> str:
        """`global_monthly_2018_01_mosaic_<area>.tif`."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Area:
    """A place of one square tile, seen in many months."""

    part: str
    """`train` or `test_public`."""
    name: str
    months: tuple[Month, ...]
    """In order of time."""
    buildings: tuple[str, ...]
    """Building footprints of the months in order of their names, relative to the root."""
    has_udm: bool
    """Whether the release says at all where clouds were."""
    strays: tuple[tuple[str, str], ...]
    """Relative path and reason of files that are not what their folder says."""


def parts_of(root: Path) -> list[str]:
    """Which of `train` and `test_public` the tree has.

    Raises:
        UserError: neither: this is no SpaceNet 7 tree.
    """
    found = [part for part in PARTS if (root / part).is_dir()]
    if not found:
        raise UserError(
            f"{root}: is no SpaceNet 7 tree: it has neither train/ nor test_public/\n"
            "  Expected train/<area>/images/global_monthly_<yyyy>_<mm>_mosaic_<area>.tif, as the archives unpack"
        )
    return found


def scan(root: Path, part: str, images: str) -> list[Area]:
    """The areas of a part in order of their names.

    Args:
        root: the tree.
        part: `train` or `test_public`.
        images: folder of the images, `images` or `images_masked`.

    Raises:
        UserError: the part has no area, or none with such a folder.
    """
    areas = [
        _area(root, part, name, images)
        for name, path in _entries(root / part)
        if Path(path).is_dir() and not name.startswith(".")
    ]
    if not any(area.months for area in areas):
        raise UserError(
            f"{root / part}: no area has images in {images}/; the public test areas have {MASKED}/ alone"
        )
    return areas


def _area(root: Path, part: str, name: str, images: str) -> Area:
    folder = f"{part}/{name}"
    pattern = re.compile(_STEM + re.escape(name) + r"\.tif\Z")
    masks = {found for found, _ in _entries(root / folder / "UDM_masks", missing=True)}
    months: dict[str, Month] = {}
    strays: list[tuple[str, str]] = []
    for found, path in _entries(root / folder / images, missing=True):
        match = pattern.match(found)
        if match is None:
            if not (found.startswith(".") or found in _JUNK or found.endswith(".aux.xml")):
                reason = f"the name is not global_monthly_<yyyy>_<mm>_mosaic_{name}.tif"
                strays.append((f"{folder}/{images}/{found}", reason))
            continue
        mask = f"{found.removesuffix('.tif')}_UDM.tif"
        udm = f"{folder}/UDM_masks/{mask}" if mask in masks else None
        month = f"{match[1]}-{match[2]}"
        months[month] = Month(name, month, f"{folder}/{images}/{found}", _size(path), udm)
    if not months:
        strays.append((f"{folder}/{images}", "the area has no image here"))
    labels = [found for found, _ in _entries(root / folder / "labels", missing=True)]
    buildings = tuple(
        f"{folder}/labels/{found}" for found in labels if re.search(r"_Buildings.*\.geojson\Z", found)
    )
    ordered = tuple(months[month] for month in sorted(months))
    return Area(part, name, ordered, buildings, (root / folder / "UDM_masks").is_dir(), tuple(strays))


def months_of(areas: list[Area]) -> Iterator[Month]:
    """Every image: by area, then by month."""
    for area in areas:
        yield from area.months


def _entries(folder: Path, *, missing: bool = False) -> list[tuple[str, str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name, entry.path) for entry in entries)
    except FileNotFoundError:
        if missing:
            return []
        raise UserError(f"{folder}: there is no such folder") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror})") from None


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # a broken link: it fails as gone when it is read
