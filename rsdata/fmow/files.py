"""fMoW as it is named (Christie et al. 2018, release 1.1): places and their views, from a folder or from a list of paths.

Known places: `<split>/<class>/<class>_<location>/<class>_<location>_<t>_{rgb|msrgb}[_crop_<box>].{jpg|json}`, split train
or val. Hidden ones: `<split>/<number>/<number>_<t>_…`, split test or seq; the ground truth says which place each is.
Locations are unique within a split only, and `t` has holes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rsdata.curate.configs import Kind
from shards.errors import UserError

SPLITS = ("train", "val")
HIDDEN = ("test", "seq")
"""Splits whose folders are numbers."""
LAST_CLASS = "false_detection"
"""Of the challenge's test data; it comes after the 62 others, so that their labels do not depend on it."""

VIEW = re.compile(r"(?P<t>\d+)_(?P<kind>rgb|msrgb)(?:_crop_(?P<box>\d+))?\.(?P<ending>jpg|json)\Z")
"""The name of a file after that of its folder and `_`."""
PLACE = re.compile(r"(?P<cls>.+)_(?P<loc>\d+)\Z")
"""A folder of a place; class names hold `_` and `-`."""

Hidden = Mapping[str, tuple[str, int]]
"""Folder of a hidden place, `test/0011978` -> its class and location."""


class ViewFile(NamedTuple):
    """One image of a place."""

    view: int
    """`t` of the name."""
    box: int | None
    """Number of the crop, where the file is a crop."""
    image: str
    """Path of the image relative to the root, with `/`."""
    metadata: str
    """Path of its metadata JSON relative to the root (of a hidden place: to the ground truth); it may not exist."""
    size: int | None = None
    """Bytes of the image, where a listing tells."""


@dataclass(frozen=True, slots=True)
class Place:
    """One location: a folder and its images, in order of `t`."""

    split: str
    class_name: str
    location: int
    views: tuple[ViewFile, ...]
    strays: tuple[tuple[str, str], ...]
    """Relative path and reason of files that are not what their folder says."""

    @property
    def name(self) -> str:
        """`train/airport_0`: unique over all splits."""
        return f"{self.split}/{self.class_name}_{self.location}"


def splits_of(root: Path, wanted: Iterable[str] = SPLITS) -> list[str]:
    """Which of the wanted splits the tree has.

    Raises:
        UserError: none: this is no fMoW tree.
    """
    wanted = tuple(wanted)
    found = [split for split in wanted if (root / split).is_dir()]
    if not found:
        none = "neither train/ nor val/" if wanted == SPLITS else f"no {', '.join(f'{s}/' for s in wanted)}"
        raise UserError(
            f"{root}: is no fMoW tree: it has {none}\n"
            "  Expected <split>/<class>/<class>_<location>/<class>_<location>_<t>_rgb.jpg"
        )
    return found


def classes_of(root: Path) -> list[str]:
    """Class names in alphabetical order over train and val: a label is a position in this list."""
    return in_order({name for split in splits_of(root) for name, _ in _folders(root / split)})


def in_order(classes: Iterable[str]) -> list[str]:
    """The order of labels: alphabetical, false detections at the end."""
    return sorted(set(classes), key=lambda name: (name == LAST_CLASS, name))


def places_in(root: Path, split: str) -> dict[str, int]:
    """How many folders each class of train or val has, alphabetically."""
    return {name: sum(1 for _ in os.scandir(path)) for name, path in _folders(root / split)}


def scan(
    root: Path, split: str, kind: Kind = "rgb", *, crops: bool = False, only: str | None = None
) -> Iterator[Place]:
    """The places of train or val of a folder: by class, then by number of the location.

    Args:
        root: the tree.
        split: `train` or `val`.
        kind: pan-sharpened `rgb` or the smaller `msrgb`; files of the other kind are passed over.
        crops: take the `_crop_<box>.jpg` files beside the originals instead of the whole images.
        only: this class alone.
    """
    for class_name, class_path in _folders(root / split):
        if only not in (None, class_name):
            continue
        places = [(_location(name, class_name), name, path) for name, path in _folders(class_path)]
        for number, name, path in sorted(places):
            names = ((entry.name, None) for entry in os.scandir(path)) if number >= 0 else ()
            yield _place(f"{split}/{class_name}/{name}", names, split, (class_name, number), kind, crops)


def scan_hidden(
    root: Path, split: str, hidden: Hidden, kind: Kind = "rgb", *, crops: bool = False
) -> Iterator[Place]:
    """The places of test or seq of a folder, as `scan`."""
    folders = [(f"{split}/{name}", path) for name, path in _folders(root / split)]
    listed = {folder: [(entry.name, None) for entry in os.scandir(path)] for folder, path in folders}
    yield from _sorted_hidden(listed, split, hidden, kind, crops)


def from_paths(
    files: Iterable[tuple[str, int | None]], split: str, hidden: Hidden, kind: Kind, *, crops: bool = False
) -> Iterator[Place]:
    """The places of a split among paths and their sizes, in the order of `scan`.

    Args:
        files: paths relative to the root; those of other splits are passed over.
        split: any of the four.
        hidden: of the ground truth, for test and seq.
        kind: as in `scan`.
        crops: as in `scan`.
    """
    folders: dict[str, list[tuple[str, int | None]]] = {}
    depth = 2 if split in HIDDEN else 3
    for path, size in files:
        if path.startswith(split + "/") and path.count("/") == depth:
            folder, _, name = path.rpartition("/")
            folders.setdefault(folder, []).append((name, size))
    if split in HIDDEN:
        yield from _sorted_hidden(folders, split, hidden, kind, crops)
        return
    places = []
    for folder in folders:
        _, class_name, name = folder.split("/")
        places.append((class_name, _location(name, class_name), folder))
    for class_name, number, folder in sorted(places):
        yield _place(folder, folders[folder], split, (class_name, number), kind, crops)


def has_crops(root: Path) -> bool:
    """Whether crops lie beside the originals; the first place that has images tells."""
    for split in splits_of(root):
        for place, whole in zip(scan(root, split, crops=True), scan(root, split), strict=True):
            if place.views or whole.views:
                return bool(place.views)
    return False


def _location(folder: str, class_name: str) -> int:
    """Number of the place, -1 where the folder is not named after its class."""
    match = PLACE.match(folder)
    return int(match["loc"]) if match and match["cls"] == class_name else -1


def _sorted_hidden(
    folders: Mapping[str, Iterable[tuple[str, int | None]]],
    split: str,
    hidden: Hidden,
    kind: Kind,
    crops: bool,
) -> Iterator[Place]:
    """By class and location, as the ground truth has them; a folder that it does not know is a stray."""
    known = {folder: hidden.get(folder, (Path(folder).name, -1)) for folder in folders}
    for folder in sorted(folders, key=lambda f: (known[f], f)):
        yield _place(folder, folders[folder], split, known[folder], kind, crops)


def _place(
    folder: str,
    names: Iterable[tuple[str, int | None]],
    split: str,
    known: tuple[str, int],
    kind: Kind,
    crops: bool,
) -> Place:
    class_name, number = known
    if number < 0:
        why = (
            f"the ground truth does not know this folder of {split}"
            if split in HIDDEN
            else f"a folder here is named {class_name}_<number>"
        )
        return Place(split, class_name, number, (), ((folder, why),))
    views, strays = [], []
    prefix = folder.rpartition("/")[2] + "_"
    place = f"{class_name}_{number}"
    home = f"{split}_gt/{class_name}/{place}" if split in HIDDEN else folder
    for name, size in names:
        match = VIEW.match(name, len(prefix)) if name.startswith(prefix) else None
        if match is None:
            if not name.startswith(".") and name != "Thumbs.db":
                strays.append((f"{folder}/{name}", f"the name is not {prefix}<t>_rgb.jpg or .json"))
            continue
        t, sort, box, ending = match.groups()
        if sort == kind and ending == "jpg" and (box is not None) == crops:
            metadata = f"{home}/{place}_{t}_{kind}.json"
            image = f"{folder}/{name}"
            views.append(ViewFile(int(t), None if box is None else int(box), image, metadata, size))
    views.sort(key=lambda v: (v.view, v.box or 0, v.image))
    return Place(split, class_name, number, tuple(views), tuple(sorted(strays)))


def _folders(path: str | Path) -> list[tuple[str, str]]:
    try:
        with os.scandir(path) as entries:
            return sorted((e.name, e.path) for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise UserError(f"{path}: cannot be listed ({error.strerror})") from None
