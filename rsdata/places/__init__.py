"""Where to look: places drawn by a seed, kept apart by true distances, decided before anything is fetched.

Place i is the first of its own draws, each a function of (seed, i, attempt), that keeps its distance from the places
before it. So a longer list begins with the shorter one, and no batch, thread or worker can change it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shards.errors import ConfigError

if TYPE_CHECKING:
    from rsdata.places.draw import Draw, Floats
    from rsdata.places.overlap import Taken
    from rsdata.sources.seco import Seasonal

MAX_LAT = 84.0
"""Degrees; beyond there is no UTM zone and no Sentinel-2."""


@dataclass(frozen=True)
class Places:
    """Centres in their order: those wanted, then the reserves."""

    lon: Floats
    """Degrees, -180 up to but not 180."""
    lat: Floats
    wanted: int
    notes: dict[str, int] = field(default_factory=dict)


def choose(source: Seasonal) -> Places:
    """Every place of a plan.

    Raises:
        ConfigError: a file that is of no use, or no room for so many places.
    """
    from rsdata.places.listed import read_points
    from rsdata.places.overlap import Taken, place_all

    taken = Taken(source.apart_km)
    notes: dict[str, int] = {}
    if source.avoid is not None:
        notes["places to avoid"] = taken.add(*read_points(source.avoid, "--avoid"))
    if source.how == "list":
        return _listed(source, taken, notes)
    wanted = source.locations or source.published_locations
    draw = _draw(source, notes)
    lon, lat, again = place_all(draw, wanted + source.fill, taken)
    return Places(lon, lat, wanted, notes | {"draws too near to others or of no use": again})


def _draw(source: Seasonal, notes: dict[str, int]) -> Draw:
    from rsdata.places import cities, draw, polygons

    if source.how == "cities":
        flawed = source.preset == "repo"
        if source.cities is None:
            lon, lat = cities.embedded(source.top_cities)
        else:
            lon, lat, bad = cities.read(source.cities, source.top_cities, dots_dropped=flawed)
            notes |= {"rows of the city file that cannot be read": bad} if bad else {}
        notes["cities"] = len(lon)
        around = draw.around_in_degrees if flawed else draw.around
        return around(lon, lat, source.std_km, source.seed)
    if source.how == "polygons":
        assert source.polygons is not None
        shapes, repaired = polygons.read(source.polygons)
        notes |= {"polygons": len(shapes)} | ({"polygons repaired": repaired} if repaired else {})
        return polygons.inside(shapes, source.seed)
    return draw.uniform_on_sphere(
        source.seed, land=source.how == "land", latitudes_alike=source.preset == "repo"
    )


def _listed(source: Seasonal, taken: Taken, notes: dict[str, int]) -> Places:
    """A list in its order; what is too near to a place before it is left out and counted."""
    import numpy as np

    from rsdata.places.listed import read_points

    assert source.places is not None
    lon, lat = read_points(source.places, "--places")
    beyond = np.flatnonzero(np.abs(lat) > MAX_LAT)
    if len(beyond):
        raise ConfigError(
            f"{source.places}: {len(beyond):,} of {len(lat):,} places lie beyond {MAX_LAT:g}° north or south, where there is no UTM zone "
            f"and no imagery; the first is lon {lon[beyond[0]]:g}, lat {lat[beyond[0]]:g}; take them out"
        )
    kept = taken.keep(lon, lat)
    lon, lat = lon[kept], lat[kept]
    if not kept.all():
        notes = notes | {"listed places too near to others": int((~kept).sum())}
    wanted = len(lon) - source.fill if source.locations is None else source.locations
    if wanted < 1 or wanted + source.fill > len(lon):
        asked = f"--locations {wanted:,}" if source.locations else "at least one"
        raise ConfigError(
            f"{source.places}: has {len(lon):,} places that can be used, and {asked} with --fill {source.fill:,} asks for "
            "more; choose smaller numbers"
        )
    end = wanted + source.fill
    return Places(lon[:end], lat[:end], wanted, notes)
