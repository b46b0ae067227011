"""Views of several bands: the members that a sensor's view has, and what its pixels look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from rsdata.sensors import Sensor
from shards.dataset import Band, Member
from shards.stats import Histogram


def members_of(sensor: Sensor) -> list[Member]:
    """A member for each resolution, finest first; the bands of each in the order of the sensor."""
    out = []
    for gsd in sensor.resolutions:
        side = sensor.side_at(gsd)
        bands = [
            Band(name=band.name, wavelength_nm=band.wavelength_nm, unit=band.unit)
            for band in sensor.bands_at(gsd)
        ]
        shape = (side, side, len(bands))
        out.append(Member(ending=f"b{gsd}.b2nd", dtype=sensor.dtype, shape=shape, bands=bands))
    return out


def histogram_of(members: Mapping[int, NDArray[Any]]) -> Histogram:
    """Counts of every band of a view from its arrays [C, H, W] by resolution, in the order of `members_of`."""
    return Histogram.beside([Histogram.of(members[gsd].transpose(1, 2, 0)) for gsd in sorted(members)])
