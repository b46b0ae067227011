"""Which bands a run reads, and how numbers wider than 8 bits become levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from shards.dataset import DatasetInfo
from shards.errors import ConfigError
from shards.index import Index
from shards.reading import Reading
from shards.stats import BandStats

Stretch = Literal["float", "sigma", "seco"]


def reading_of(info: DatasetInfo, bands: Sequence[str] = (), stretch: Stretch = "float") -> Reading:
    """The bands asked for (`rgb`: red, green, blue; none: all) and the levels of their numbers.

    8-bit sets are read as they are. Of others the levels 0 … 255 span the mean ± 2 std of each band: as float32, nothing
    cut off (`float`), or cut off and rounded down to 8 bits (`sigma`, as SSL4EO-S12); `seco` spans the 2 % to 98 %
    quantiles in 8 bits (Seasonal Contrast, `seco_utils.py`).

    Raises:
        ConfigError: the set has no such band, or no statistics of one.
    """
    known = [band.name for band in info.bands]
    names = tuple(known)
    if tuple(bands) == ("rgb",):
        if info.rgb is None:
            raise ConfigError(
                f"bands=rgb: {info.name} has no red, green and blue; it has {', '.join(known)}: name the bands instead"
            )
        names = info.rgb
    elif bands:
        names = tuple(bands)
    for name in names:
        if name not in known:
            raise ConfigError(f"bands: {info.name} has no band {name!r}; it has {', '.join(known)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"bands={','.join(names)}: names a band twice")
    if not is_wide(info):
        return Reading(names)
    chosen = statistics_of(info, names)
    ends = [_ends(band, stretch) for band in chosen]
    low, high = (tuple(end) for end in zip(*ends, strict=True))
    return Reading(names, low, high, whole=stretch != "float")


def is_wide(info: DatasetInfo) -> bool:
    """Whether the pixels are anything but 8-bit levels."""
    return any(member.dtype != "uint8" for member in info.members)


def complete(index: Index) -> Index:
    """The index as it is read; numbers wider than 8 bits of which nobody said what they become, as `float` levels."""
    if index.reading.low or not is_wide(index.info):
        return index
    return index.read_as(reading_of(index.info, index.reading.bands))


def statistics_of(info: DatasetInfo, names: Sequence[str]) -> list[BandStats]:
    """Statistics of some bands, in this order.

    Raises:
        ConfigError: dataset.json has none of one of them.
    """
    by_name = {band.name: band for band in info.statistics}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise ConfigError(
            f"{info.name}: dataset.json holds statistics of {len(info.statistics)} bands, not of {', '.join(missing)}; "
            "rebuild the set, or use statistics=imagenet for 8-bit RGB"
        )
    return [by_name[name] for name in names]


def _ends(band: BandStats, stretch: Stretch) -> tuple[float, float]:
    """The numbers that become 0 and 255; apart even where a band is flat."""
    if stretch == "seco":
        low, high = float(band.quantiles["0.02"]), float(band.quantiles["0.98"])
    else:
        low, high = band.mean - 2 * band.std, band.mean + 2 * band.std
    return low, max(high, low + 1e-6)
