"""Which classes and photos of a list are planned: functions of seed and ids, not of the order of the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rsdata.flickr.ids import Photo
from rsdata.flickr.lists import WNID
from shards.errors import ConfigError
from shards.random import stream, uniform


def named_classes(given: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Wnids of classes that are given by wnid or by name, sorted.

    Raises:
        ConfigError: no class has a name, or several have.
    """
    owners: dict[str, list[str]] = {}
    for wnid, name in names.items():
        owners.setdefault(name, []).append(wnid)
    return sorted({text if WNID.match(text) else _only(text, owners.get(text, []), names) for text in given})


def drawn_classes(where: Path, counts: Mapping[str, int], wanted: int, least: int, seed: int) -> list[str]:
    """So many wnids of those with enough photos, each equally likely, sorted; a longer draw holds the shorter.

    Raises:
        ConfigError: fewer have enough.
    """
    enough = [wnid for wnid, count in counts.items() if count >= least]
    if len(enough) < wanted:
        raise ConfigError(
            f"{where}: {len(enough):,} classes have {least:,} photos or more, --draw-classes {wanted}; "
            "ask for fewer classes, fewer --images-per-class or less --min-urls"
        )
    place = uniform(stream("geoimagenet/class"), seed, [int(wnid[1:]) for wnid in enough], count=1)[:, 0]
    drawn = sorted(zip(place.tolist(), enough, strict=True))[:wanted]
    return sorted(wnid for _, wnid in drawn)


def shuffled(photos: Sequence[Photo], seed: int) -> list[Photo]:
    """Photos in the order in which they are taken; a longer plan holds the shorter."""
    if not photos:
        return []
    place = uniform(stream("geoimagenet/photo"), seed, [photo.id for photo in photos], count=1)[:, 0]
    return [photo for _, photo in sorted(zip(place.tolist(), photos, strict=True))]


def _only(name: str, wnids: Sequence[str], names: Mapping[str, str]) -> str:
    """The one wnid of a name."""
    if len(wnids) == 1:
        return wnids[0]
    if wnids:
        raise ConfigError(f"classes: {name!r} is the name of {', '.join(wnids)}; give one of these ids")
    why = "is not in --class-names" if names else "is no wnid, and names need --class-names"
    raise ConfigError(f"classes: {name!r} {why}; give a wnid such as n01440764")
