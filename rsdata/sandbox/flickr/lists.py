"""Lists of URLs in the form of ImageNet's, of photos whose fates are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rsdata.sandbox.flickr.photos import FATES, PLACES, Fate, cover_of, fates_of, places_of
from rsdata.sandbox.world import COVER
from shards.errors import ConfigError
from shards.random import bits, stream

_HOSTS = (
    "http://farm{farm}.static.flickr.com/{server}/{name}.jpg",
    "https://farm{farm}.staticflickr.com/{server}/{name}_z.jpg",
    "https://c{farm}.staticflickr.com/{farm}/{server}/{name}_b.jpg",
    "https://live.staticflickr.com/{server}/{name}.jpg",
    "http://static.flickr.com/{server}/{name}.jpg",
)
_LIST = stream("flickr list")
WORDS = {f"n99{number:06d}": name for number, name in enumerate(COVER)}
"""Ids that WordNet does not have -> what covers most of the photo."""


@dataclass(frozen=True)
class Truth:
    """A photo of a list."""

    id: int
    wnid: str
    url: str
    fate: Fate


def write_url_list(
    path: Path, n: int, *, seed: int = 0, shares: Mapping[Fate, float] | None = None, places: int = 24
) -> list[Truth]:
    """Write `n` lines of `wnid_id<TAB>url`, and beside it the names of the classes (`words.txt`).

    Args:
        path: of the list.
        n: photos.
        seed: of the planet and of the ids.
        shares: of each fate; what they leave is whole.
        places: regions that the photos are of.

    Returns:
        What is true of each photo, in the order of the lines.

    Raises:
        ConfigError: the shares are more than everything.
    """
    counts = {fate: round(n * share) for fate, share in (shares or {}).items()}
    if sum(counts.values()) > n or not 0 < places <= PLACES:
        raise ConfigError(f"shares {dict(shares or {})} and {places} places do not make a list of {n} photos")
    left = Counter(counts) + Counter({"whole": n - sum(counts.values())})
    truths: list[Truth] = []
    draw = 0
    while left.total():
        ids = (bits(_LIST, seed, np.arange(draw, draw + 1024), count=1)[:, 0] % 9_000_000_000).astype(
            np.int64
        )
        ids += 100_000
        draw += 1024
        for photo, fate, place in zip(
            ids.tolist(), fates_of(ids).tolist(), places_of(ids).tolist(), strict=True
        ):
            name = FATES[fate]
            if place < places and left[name] > 0:
                left[name] -= 1
                wnid = f"n99{COVER.index(cover_of(photo, seed)):06d}"
                truths.append(Truth(photo, wnid, _url(photo, name), name))
    lines = [f"{truth.wnid}_{number}\t{truth.url}" for number, truth in enumerate(truths)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [f"{wnid}\t{name}" for wnid, name in WORDS.items()]
    (path.parent / "words.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return truths


def _url(photo: int, fate: Fate) -> str:
    word = f"{photo * 2654435761 % 2**40:010x}"
    form = _HOSTS[photo % len(_HOSTS)]
    if fate == "moved":  # the list must name another host than today's
        form = _HOSTS[0]
    return form.format(farm=1 + photo % 9, server=photo % 8000 + 1, name=f"{photo}_{word}")
