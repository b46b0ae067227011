"""From an fMoW archive to items: which places are wanted, what is known of their views, which split each is in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsdata.fmow import truth
from rsdata.fmow.files import (
    HIDDEN,
    PLACE,
    Place,
    ViewFile,
    classes_of,
    from_paths,
    in_order,
    scan,
    scan_hidden,
    splits_of,
)
from rsdata.fmow.metadata import Facts
from rsdata.sources.base import Item, Listing
from shards.errors import ConfigError

if TYPE_CHECKING:
    from rsdata.fmow.truth import Truth
    from rsdata.sources.fmow import FMoW


def listing(source: FMoW) -> Listing:
    """Every place that is wanted; a view whose metadata is of no use is planned too, and fails in sight.

    Raises:
        UserError: no tree, no ground truth where one is needed, a class or place that is not there.
    """
    known = _truth(source)
    classes, places = _places(source, known)
    number = {name: label for label, name in enumerate(classes)}
    wanted = _wanted(source, classes, places)
    items = [_item(source, place, number.get(place.class_name), known) for place in wanted]
    if source.countries:
        items = _in_countries(source, items)
    notes = Counter(f"places in {item.split}" for item in items)
    notes["requests" if source.remote else "views"] = sum(len(item.urls) for item in items)
    return Listing(_by_geography(source, items) if source.split == "geo" else items, classes, dict(notes))


def _truth(source: FMoW) -> Truth | None:
    path = source.ground_truth()
    if path is None:
        hidden = [split for split in source.subsets if split in HIDDEN]
        if hidden:
            raise ConfigError(
                f"{source.root}: the folders of {' and '.join(hidden)} are numbers; which place each is stands in the ground "
                "truth: give groundtruth.tar.bz2 as --metadata-root"
            )
        return None
    if path.is_dir():
        return truth.from_folder(path)
    return truth.from_archive(path, source.cache_folder(), source.images)


def _places(source: FMoW, known: Truth | None) -> tuple[list[str], Iterator[Place]]:
    """Classes in the order of labels, and every place of the splits."""
    crops = source.boxes == "files"
    hidden = known.hidden if known else {}
    listed = known.classes if known else {}
    if not source.remote and source.manifest is None:
        root = Path(source.root)
        splits = splits_of(root, source.subsets)
        names = set(classes_of(root)) if set(splits) - set(HIDDEN) else set()
        names |= {name for split in set(splits) & set(HIDDEN) for name in listed.get(split, ())}
        if not names:
            raise ConfigError(f"{root}: train/ and val/ have no class folders")
        return in_order(names), _of_folder(root, splits, hidden, source, names)
    files = source.files(known)
    names = {name for split in source.subsets for name in listed.get(split, ())}
    places = [
        place
        for split in source.subsets
        for place in from_paths(files, split, hidden, source.images, crops=crops)
    ]
    names |= {place.class_name for place in places if place.location >= 0}
    return in_order(names), iter(places)


def _of_folder(
    root: Path, splits: list[str], hidden: dict[str, tuple[str, int]], source: FMoW, names: set[str]
) -> Iterator[Place]:
    filled = set()
    crops = source.boxes == "files"
    for split in splits:
        found = (
            scan_hidden(root, split, hidden, source.images, crops=crops)
            if split in HIDDEN
            else scan(root, split, source.images, crops=crops)
        )
        for place in found:
            filled.add(place.class_name)
            yield place
    empty = sorted(names - filled) if not set(splits) & set(HIDDEN) else []
    if empty:
        raise ConfigError(
            f"{root}: the class folder {empty[0]!r} has no places; add some or remove the folder"
        )


def _wanted(source: FMoW, classes: list[str], places: Iterable[Place]) -> Iterator[Place]:
    """The places that the options choose; a share is chosen place by place, so a larger one holds the smaller."""
    from shards.random import stream, uniform

    for name in source.classes:
        if name not in classes:
            near = get_close_matches(name, classes) or classes[:5]
            raise ConfigError(f"{source.root}: has no class {name!r} (--classes); there is {', '.join(near)}")
    missing = set(source.places)
    key = stream("fmow/fraction")
    for place in places:
        if source.places and place.name not in source.places:
            continue
        missing.discard(place.name)
        if source.classes and place.class_name not in source.classes:
            continue
        if (
            source.fraction < 1
            and uniform(key, source.seed, stream(place.name), count=1)[0] >= source.fraction
        ):
            continue
        yield place
    if missing:
        raise ConfigError(
            f"{source.root}: has no place {min(missing)!r} (--places); expected such as train/airport_0, in "
            f"{', '.join(source.subsets)}"
        )


def prefixes(source: FMoW, known: Truth | None) -> list[str]:
    """What of a bucket holds the wanted places, so that no more is listed than is needed."""
    numbered = known.hidden if known else {}
    hidden = {f"{folder.partition('/')[0]}/{c}_{n}": folder for folder, (c, n) in numbered.items()}
    found = set()
    if source.places:
        for name in source.places:
            split, _, place = name.partition("/")
            match = PLACE.match(place)
            folder = hidden.get(name) or f"{split}/{match['cls'] if match else place}/{place}"
            found.add(f"{folder}/")
    else:
        for split in source.subsets:
            folders = (
                [split] if split in HIDDEN or not source.classes else [f"{split}/{c}" for c in source.classes]
            )
            found |= {f"{folder}/" for folder in folders}
    return sorted(found)


def _item(source: FMoW, place: Place, label: int | None, known: Truth | None) -> Item:
    views = [view for view in place.views if source.boxes != "files" or view.box == 0]
    facts = [_facts(source, view, known) for view in views]
    sizes = [size for view in views if (size := _size(source, view)) is not None]
    first = next((f for f in facts if f.error is None), Facts())
    folder = place.name.partition("/")[2]
    named = place.location >= 0
    return Item(
        id=f"{place.split}/{place.class_name}/{folder}" if named else place.strays[0][0],
        key=f"{place.split}-{folder}" if named else "",
        urls=tuple(view.image for view in views),
        sizes=tuple(sizes) if len(sizes) == len(views) else (),
        split=place.split,
        label=label,
        group=place.name if named else place.strays[0][0],
        lon=first.lon,
        lat=first.lat,
        time=first.time,
        facts=json.dumps(
            {
                "class_name": place.class_name,
                "location": place.name,
                "views": [{"view": view.view, **f._asdict()} for view, f in zip(views, facts, strict=True)],
                "strays": place.strays,
            }
        ),
    )


def _facts(source: FMoW, view: ViewFile, known: Truth | None) -> Facts:
    """From the ground truth where it has them, else from the file beside the image, if that lies on this machine."""
    facts = known.facts(view.metadata) if known else None
    if facts is not None:
        return facts
    missing = f"{view.metadata}: there is no metadata JSON for this image"
    if source.remote or view.image.startswith(HIDDEN):
        return Facts(error=missing)
    path = Path(source.root) / view.metadata
    try:
        return Facts.of(path.read_bytes())
    except FileNotFoundError:
        return Facts(error=missing)
    except OSError as error:
        return Facts(error=f"{path}: cannot be read ({error.strerror})")


def _size(source: FMoW, view: ViewFile) -> int | None:
    if view.size is not None or source.remote:
        return view.size
    try:
        return (Path(source.root) / view.image).stat().st_size
    except OSError:
        return 0  # a broken link, or gone since the scan: it fails as gone when it is fetched


def _in_countries(source: FMoW, items: list[Item]) -> list[Item]:
    def countries(item: Item) -> set[Any]:
        return {view["country"] for view in json.loads(item.facts)["views"]}

    kept = [item for item in items if countries(item) & set(source.countries)]
    if not kept:
        seen = sorted({str(c) for item in items for c in countries(item) if c})
        raise ConfigError(
            f"{source.root}: no place is in {', '.join(source.countries)} (--countries); expected ISO alpha-3 codes, there is "
            f"{', '.join(seen[:8])}{', …' if len(seen) > 8 else ''}"
        )
    return kept


def _by_geography(source: FMoW, items: list[Item]) -> list[Item]:
    import numpy as np

    from rsdata.curate.splits import geo_blocks

    placed = [item for item in items if item.lon is not None]  # the others fail when they are fetched
    if not placed:
        raise ConfigError(f"{source.root}: no place has coordinates to split by; give --metadata-root")
    lon_lat = np.array([(item.lon, item.lat) for item in placed], np.float64)
    chosen = geo_blocks(
        *lon_lat.T, degrees=source.geo_degrees, fraction=source.geo_fraction, seed=source.seed
    )
    val = {item.id for item, held_out in zip(placed, chosen, strict=True) if held_out}
    return [replace(item, split="val" if item.id in val else "train") for item in items]
