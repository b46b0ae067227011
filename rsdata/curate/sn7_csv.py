"""`rsdata sn7-csv`: one row a patch of SpaceNet 7, divided, labelled and placed (CONTRACT section 3)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rsdata.curate.configs import Sn7CsvConfig
from rsdata.curate.sn7_files import MASKED, Area, Month, months_of, parts_of, scan
from rsdata.curate.sn7_leakage import leakage
from rsdata.curate.sn7_pixels import ACROSS, read_picture
from rsdata.curate.sn7_places import Place, find_places, labels_of
from rsdata.curate.sn7_splits import Patch, assign, every_patch
from shards.errors import UserError
from shards.failures import FailureClass
from shards.store import Store

COLUMNS = ("label", "path", "patch", "row", "col", "aoi", "country", "state", "city", "month", "lon", "lat")
HALF = 0.5
"""A patch is black from this share on (the study: 32,768 of 65,536 pixels)."""


class Row(NamedTuple):
    """One patch of one image, in the order of COLUMNS."""

    label: int | None
    path: str
    patch: int
    row: int
    col: int
    aoi: str
    country: str
    state: str
    city: str
    month: str
    lon: float | None
    lat: float | None


class Lost(NamedTuple):
    """A file that is in no list, or what is odd about an area."""

    path: str
    kind: FailureClass
    reason: str


@dataclass(frozen=True)
class Sn7CsvReport:
    """What was written."""

    out: str
    split: str
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of each list."""
    areas: dict[str, int] = field(default_factory=dict)
    """Areas of each list."""
    black: dict[str, int] = field(default_factory=dict)
    """Patches left out of each list because they are black."""
    leakage: str = ""
    notes: tuple[str, ...] = ()
    """What does not agree about an area: its country, or where it lies."""
    failed: int = 0

    def summary(self) -> str:
        """Lines for people."""
        lines = [f"{self.out}: --split {self.split}"]
        for name, count in self.rows.items():
            black = f", {self.black[name]:,} black patches left out" if self.black.get(name) else ""
            lines.append(f"  {name}: {count:,} rows of {self.areas[name]} areas{black}")
        lines += [self.leakage] + [f"note: {note}" for note in self.notes]
        if self.failed:
            lines.append(f"{self.failed:,} files are in no list: see failures.csv")
        return "\n".join(line for line in lines if line)


def sn7_csv(root: Path, out: Path, config: Sn7CsvConfig) -> Sn7CsvReport:
    """Write train.csv, val.csv, test.csv, classes.json, places.csv, leakage.json and .txt, failures.csv.

    `test` are the public test areas, labelled by their position among themselves, as published.

    Raises:
        UserError: no SpaceNet 7 tree, nothing to hold out, or no usable image.
    """
    areas = {part: scan(root, part, config.images if part == "train" else MASKED) for part in parts_of(root)}
    every = [area for part in areas.values() for area in part]
    places = find_places(root, every)
    if config.places == "nominatim":
        from rsdata.curate.sn7_nominatim import ask

        places = ask(places, out, endpoint=config.nominatim, contact=config.contact)
    lost = [Lost(path, FailureClass.INVALID, reason) for area in every for path, reason in area.strays]

    train = list(months_of(areas.get("train", [])))
    months = {(month.area, month.month): month for month in train}
    held_out = _other_images(root, config, months, lost)
    lists: dict[str, list[Patch]] = {"train": [], "val": []}
    if train:
        for patch, split in assign(config, train, places).items():
            lists[split].append(patch)
    test = list(months_of(areas.get("test_public", [])))
    lists["test"] = every_patch(test)
    images = {"train": months, "val": held_out, "test": {(month.area, month.month): month for month in test}}

    classes = _classes(config, areas, places)
    labels = {name: _label(config, place, classes) for name, place in places.items()}
    labels |= {area.name: number for number, area in enumerate(areas.get("test_public", []))}
    spots = {name: place.patch_centres() for name, place in places.items()}
    rows: dict[str, list[Row]] = {}
    black: Counter[str] = Counter()
    kept: dict[str, list[Patch]] = {}
    for name, patches in lists.items():
        if patches:
            kept[name], dropped = _usable(root, name, patches, images[name], config, lost)
            black[name] = dropped
            rows[name] = [
                _row(images[name][p[:2]], p, places[p.area], labels[p.area], spots[p.area][p.patch])
                for p in kept[name]
            ]
    if not any(rows.values()):
        raise UserError(f"{root}: no image could be listed; the first: {lost[0].path}: {lost[0].reason}")
    return _write(out, config, rows, kept, black, classes, places, lost)


def _other_images(
    root: Path, config: Sn7CsvConfig, months: Mapping[tuple[str, str], Month], lost: list[Lost]
) -> dict[tuple[str, str], Month]:
    """The images that stand for the held-out ones."""
    if not months or config.val_images in (None, config.images):
        return dict(months)
    assert config.val_images is not None
    there = scan(root, "train", config.val_images)
    found = {(month.area, month.month): month for month in months_of(there)}
    for key, month in months.items():
        if key not in found:
            lost.append(Lost(month.path, FailureClass.GONE, f"has no twin in {config.val_images}/"))
    return found


def _classes(
    config: Sn7CsvConfig, areas: Mapping[str, Sequence[Area]], places: Mapping[str, Place]
) -> dict[str, int]:
    names = [area.name for area in areas.get("train", [])]
    if config.label == "aoi":
        return {name: number for number, name in enumerate(names)}
    return labels_of(places[name] for name in names)


def _label(config: Sn7CsvConfig, place: Place, classes: Mapping[str, int]) -> int | None:
    return classes.get(place.area if config.label == "aoi" else place.address.country)


def _usable(
    root: Path,
    name: str,
    patches: Sequence[Patch],
    images: Mapping[tuple[str, str], Month],
    config: Sn7CsvConfig,
    lost: list[Lost],
) -> tuple[list[Patch], int]:
    """Patches whose image can be read whole and that are not black; and how many are black."""
    there = [patch for patch in patches if patch[:2] in images]
    if not config.pixels:
        return there, 0
    shares = {}
    for key in dict.fromkeys(patch[:2] for patch in there):
        month = images[key]
        try:
            shares[key] = read_picture((root / month.path).read_bytes()).black
        except OSError as error:
            lost.append(Lost(month.path, FailureClass.GONE, f"cannot be read ({error.strerror})"))
        except ValueError as error:
            lost.append(Lost(month.path, FailureClass.INVALID, str(error)))
    whole = [patch for patch in there if patch[:2] in shares]
    if config.drop_black == "none" or (config.drop_black == "test" and name != "test"):
        return whole, 0
    kept = [patch for patch in whole if shares[patch[:2]][patch.patch] < HALF]
    return kept, len(whole) - len(kept)


def _row(
    month: Month,
    patch: Patch,
    place: Place,
    label: int | None,
    spot: tuple[float | None, float | None],
) -> Row:
    row, column = divmod(patch.patch, ACROSS)
    said = place.address
    return Row(
        label,
        month.path,
        patch.patch,
        row,
        column,
        patch.area,
        said.country,
        said.state,
        said.city,
        patch.month,
        *spot,
    )


def _write(
    out: Path,
    config: Sn7CsvConfig,
    rows: Mapping[str, list[Row]],
    kept: Mapping[str, list[Patch]],
    black: Counter[str],
    classes: Mapping[str, int],
    places: Mapping[str, Place],
    lost: list[Lost],
) -> Sn7CsvReport:
    store = Store(out)
    store.make()
    for name, listed in rows.items():
        _write_list(store, f"{name}.csv", listed)
    found = [
        leakage(name, kept["train"], kept[name], places)
        for name in ("val", "test")
        if kept.get(name) and kept.get("train")
    ]
    text = "\n".join(one.summary() for one in found)
    settings = {key: value for key, value in config.to_dict().items() if key != "contact"}
    facts = {"split": config.split, "seed": config.seed, "settings": settings}
    facts |= {one.held_out: one.to_dict() for one in found}
    store.write("leakage.json", (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode())
    store.write("leakage.txt", (text + "\n").encode())
    store.write("classes.json", (json.dumps(classes, indent=1, ensure_ascii=False) + "\n").encode())
    _write_places(store, places)
    _write_failures(store, lost)
    return Sn7CsvReport(
        out=str(out),
        split=config.split,
        rows={f"{name}.csv": len(listed) for name, listed in rows.items()},
        areas={f"{name}.csv": len({row.aoi for row in listed}) for name, listed in rows.items()},
        black={f"{name}.csv": count for name, count in black.items() if count},
        leakage=text,
        notes=tuple(f"{name}: {note}" for name, place in places.items() for note in place.notes),
        failed=len(lost),
    )


def _write_list(store: Store, name: str, rows: list[Row]) -> None:
    import pyarrow as pa

    from rsdata.curate.tables import write_csv

    text, number, real = pa.string(), pa.int64(), pa.float64()
    kinds = (number, text, number, number, number, text, text, text, text, text, real, real)
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
    write_csv(store, name, pa.table(arrays, names=list(COLUMNS)))


def _write_places(store: Store, places: Mapping[str, Place]) -> None:
    import pyarrow as pa

    from rsdata.curate.tables import write_csv

    listed = list(places.values())
    columns = {
        "aoi": pa.array([place.area for place in listed], pa.string()),
        "lon": pa.array([place.lon for place in listed], pa.float64()),
        "lat": pa.array([place.lat for place in listed], pa.float64()),
        "origin": pa.array([place.origin for place in listed], pa.string()),
        "iso2": pa.array([place.address.iso for place in listed], pa.string()),
        "country": pa.array([place.address.country for place in listed], pa.string()),
        "state": pa.array([place.address.state for place in listed], pa.string()),
        "city": pa.array([place.address.city for place in listed], pa.string()),
        "notes": pa.array(["; ".join(place.notes) for place in listed], pa.string()),
    }
    write_csv(store, "places.csv", pa.table(columns))


def _write_failures(store: Store, lost: list[Lost]) -> None:
    import pyarrow as pa

    from rsdata.curate.tables import write_csv

    columns = {
        "path": [one.path for one in lost],
        "class": [str(one.kind) for one in lost],
        "reason": [one.reason.replace("\n", " ") for one in lost],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    write_csv(store, "failures.csv", table)
