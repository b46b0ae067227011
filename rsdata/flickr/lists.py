"""Lists of image URLs by WordNet id, as ImageNet once published them, and the names of its classes.

Read twice where classes are to be chosen: a list has 14 million lines, and most of them are not wanted.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rsdata.flickr.ids import Photo, is_flickr, parse
from shards.errors import ConfigError

WNID = re.compile(r"n\d{8}\Z")
_KEYED = re.compile(r"(n\d{8})(?:_\w+)?\Z")
_TABLES = {".csv", ".parquet", ".pq"}


@dataclass
class Candidates:
    """Photos of the chosen classes, each once."""

    photos: dict[str, list[Photo]]
    """wnid -> photos in the order of the list."""
    urls: dict[int, str]
    """Photo id -> URL as listed."""
    notes: Counter[str] = field(default_factory=Counter)


def count_photos(where: Path) -> dict[str, int]:
    """How many URLs of each wnid name a Flickr photo; classes in the order of their ids.

    Raises:
        ConfigError: the list cannot be read.
    """
    counts: Counter[str] = Counter()
    for wnid, url in _rows(where, Counter()):
        counts[wnid] += is_flickr(url) and parse(url) is not None
    if not counts:
        raise ConfigError(
            f"{where}: has no line of the form n01440764_18<TAB>URL; give a list in the form of fall11_urls.txt, a CSV or "
            "Parquet with the columns wnid and url, or a folder of n01440764.txt with a URL a line"
        )
    return dict(sorted(counts.items()))


def read_photos(where: Path, wnids: list[str]) -> Candidates:
    """The photos of some classes. Of a photo that is listed twice the first line counts.

    Raises:
        ConfigError: the list cannot be read.
    """
    notes: Counter[str] = Counter()
    found = Candidates({wnid: [] for wnid in wnids}, {}, notes)
    owner: dict[int, str] = {}
    for wnid, url in _rows(where, notes):
        if wnid not in found.photos:
            continue
        if not is_flickr(url):
            notes["URLs that are not of Flickr"] += 1
            continue
        photo = parse(url)
        if photo is None:
            notes["URLs of Flickr that name no photo"] += 1
        elif owner.setdefault(photo.id, wnid) != wnid:
            notes["photos of a class before this one"] += 1
        elif photo.id in found.urls:
            notes["photos listed again"] += 1
        else:
            found.photos[wnid].append(photo)
            found.urls[photo.id] = url
    return found


def read_names(path: Path) -> dict[str, str]:
    """Class name of each wnid: of words.txt (`n01440764<TAB>tench, Tinca tinca`), or of a CSV with synid and class_name.

    Only the first of several synonyms is kept, as the published tables do. Names are not unique: 1,444 of them stand for
    several synsets.

    Raises:
        ConfigError: it cannot be read, or names nothing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give words.txt or a CSV in UTF-8") from None
    names: dict[str, str] = {}
    if path.suffix.lower() == ".csv":
        for row in csv.reader(text.splitlines()):
            if len(row) >= 2 and WNID.match(row[0].strip()):
                names[row[0].strip()] = row[1].split(",")[0].strip()
    else:
        for line in text.splitlines():
            wnid, _, name = line.strip().partition("\t" if "\t" in line else " ")
            if WNID.match(wnid) and name.strip():
                names[wnid] = name.split(",")[0].strip()
    if not names:
        raise ConfigError(f"{path}: names no class; expected lines such as n01440764<TAB>tench, Tinca tinca")
    return names


def _rows(where: Path, notes: Counter[str]) -> Iterator[tuple[str, str]]:
    """(wnid, URL) of each usable line."""
    try:
        if where.is_dir():
            yield from _folder(where, notes)
        elif where.suffix.lower() in _TABLES:
            yield from _table(where, notes)
        else:
            yield from _lines(where, notes)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read ({error.strerror}); give --urls a list of URLs") from None


def _folder(where: Path, notes: Counter[str]) -> Iterator[tuple[str, str]]:
    for path in sorted(where.iterdir()):
        if not (path.is_file() and WNID.match(path.stem)):
            notes["files whose name is no wnid"] += 1
            continue
        with path.open(encoding="latin-1") as file:  # URLs are ASCII; whatever else must not stop the reading
            for line in file:
                if line.strip():
                    yield path.stem, line.strip()


def _lines(where: Path, notes: Counter[str]) -> Iterator[tuple[str, str]]:
    with where.open(encoding="latin-1", newline="\n") as file:
        for line in file:
            key, tab, url = line.rstrip("\r\n").partition("\t")
            found = _KEYED.match(key) if tab else None
            if found and url:
                yield found[1], url.strip()
            elif line.strip():
                notes["lines without a wnid"] += 1


def _table(where: Path, notes: Counter[str]) -> Iterator[tuple[str, str]]:
    from rsdata.curate.tables import read_table

    table = read_table(where)
    names = {name.lower(): name for name in table.column_names}
    key = next((names[name] for name in ("wnid", "synset", "synid", "key") if name in names), None)
    if key is None or "url" not in names:
        raise ConfigError(
            f"{where}: has the columns {', '.join(table.column_names)}; expected url, and wnid or key (n01440764_18)"
        )
    for value, url in zip(table[key].to_pylist(), table[names["url"]].to_pylist(), strict=True):
        found = _KEYED.match(str(value))
        if found and url:
            yield found[1], str(url).strip()
        else:
            notes["lines without a wnid"] += 1
