"""`rsdata fmow-csv`: the lists that the original loaders read, from an fMoW tree (CONTRACT section 3)."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsdata.curate.configs import FmowCsvConfig
from rsdata.curate.geocluster import cluster
from rsdata.fmow.files import classes_of, has_crops, places_in, scan, splits_of
from rsdata.fmow.metadata import Facts
from rsdata.fmow.truth import Truth, from_archive
from shards.clusters import Clusters
from shards.errors import UserError
from shards.failures import FailureClass
from shards.store import Store

TRAIN, TEST, GEO = "train_62classes.csv", "test_62classes.csv", "train_100geoclasses.csv"
COLUMNS = (
    "label",
    "path",
    "class_name",
    "location",
    "view",
    "timestamp",
    "lon",
    "lat",
    "gsd",
    "country",
    "utm",
)
_PARALLEL_FROM = 4_000
"""Places of a split; fewer are read sooner than processes start."""
_SMALL = 1 << 16


class Row(NamedTuple):
    """One image; the label is added when the lists are written."""

    path: str
    class_name: str
    location: int
    view: int
    timestamp: str
    lon: float
    lat: float
    gsd: float | None
    country: str
    utm: str


class Lost(NamedTuple):
    """One file that is in no list."""

    path: str
    kind: FailureClass
    reason: str


@dataclass(frozen=True)
class FmowCsvReport:
    """What was written."""

    out: str
    boxes: str
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of each list."""
    classes: int = 0
    clusters: int = 0
    failed: int = 0

    def summary(self) -> str:
        """A few lines for people."""
        lists = "\n".join(f"  {name}: {count:,} rows" for name, count in self.rows.items())
        lost = f"\n  {self.failed:,} files are in no list: see failures.csv" if self.failed else ""
        return f"{self.out}: {self.classes} classes, {self.clusters} clusters, images: {self.boxes}\n{lists}{lost}"


def fmow_csv(root: Path, out: Path, config: FmowCsvConfig) -> FmowCsvReport:
    """Write the three lists, classes.json, clusters.json and failures.csv; `test` is fMoW's val.

    Raises:
        UserError: no fMoW tree, no usable image, or fewer distinct places than clusters.
    """
    splits = splits_of(root)
    known = None
    if config.metadata_root is not None and not config.metadata_root.is_dir():
        if not config.metadata_root.is_file():
            raise UserError(f"{config.metadata_root}: there is no such folder or archive (--metadata-root)")
        known = from_archive(
            config.metadata_root, (config.cache or Path.home() / ".cache" / "rsdata").absolute(), config.kind
        )
    classes = classes_of(root)
    crops = config.boxes == "files" or (config.boxes == "auto" and has_crops(root))
    rows: dict[str, list[Row]] = {"train": [], "val": []}
    lost: list[Lost] = []
    for split in splits:
        rows[split], failed = read_split(root, split, config, crops=crops, known=known)
        lost += failed
    if not rows["train"] and not rows["val"]:
        hint = f"; the first of {len(lost):,}: {lost[0].path}: {lost[0].reason}" if lost else ""
        raise UserError(f"{root}: no image could be listed{hint}")

    numbers = {name: label for label, name in enumerate(classes)}
    clusters, geo = _geo(rows["train"], config)
    store = Store(out)
    store.make()
    _write_list(store, TRAIN, rows["train"], [numbers[row.class_name] for row in rows["train"]])
    _write_list(store, TEST, rows["val"], [numbers[row.class_name] for row in rows["val"]])
    _write_list(store, GEO, rows["train"], geo)
    _write_failures(store, lost)
    store.write("classes.json", (json.dumps(numbers, indent=1) + "\n").encode())
    if clusters is not None:
        _write_clusters(store, clusters, rows["train"], np.array(geo, np.int64), config)
    counts = {TRAIN: len(rows["train"]), TEST: len(rows["val"]), GEO: len(geo)}
    boxes = "crop files" if crops else "whole"
    return FmowCsvReport(str(out), boxes, counts, len(classes), config.k if clusters else 0, len(lost))


def read_split(
    root: Path, split: str, config: FmowCsvConfig, *, crops: bool, known: Truth | None = None
) -> tuple[list[Row], list[Lost]]:
    """Rows of the images whose metadata is whole, in order of class, location, view and box; and all other files."""
    places = places_in(root, split)
    work = partial(_rows_of, root, split, config, crops, known)
    if known is None and config.workers > 1 and sum(places.values()) >= _PARALLEL_FROM:
        largest_first = sorted(places, key=lambda name: -places[name])
        with ProcessPoolExecutor(config.workers) as pool:
            found = dict(zip(largest_first, pool.map(work, largest_first), strict=True))
    else:
        found = {name: work(name) for name in places}
    rows = [row for name in places for row in found[name][0]]
    lost = [item for name in places for item in found[name][1]]
    return rows, lost


def _rows_of(
    root: Path, split: str, config: FmowCsvConfig, crops: bool, known: Truth | None, class_name: str
) -> tuple[list[Row], list[Lost]]:
    """Of one class."""
    look = partial(_facts, config.metadata_root or root) if known is None else partial(_known, known)
    rows: list[Row] = []
    lost: list[Lost] = []
    for place in scan(root, split, config.kind, crops=crops, only=class_name):
        lost += [Lost(path, FailureClass.INVALID, reason) for path, reason in place.strays]
        if not place.views and not place.strays:
            folder = f"{place.split}/{place.class_name}/{place.class_name}_{place.location}"
            lost.append(Lost(folder, FailureClass.INVALID, "the folder has no image of this kind"))
        for view in place.views:
            facts = look(view.metadata)
            if facts.error is not None or facts.lon is None or facts.lat is None:
                lost.append(Lost(view.image, FailureClass.INVALID, facts.error or "no coordinates"))
                continue
            rows.append(
                Row(
                    view.image,
                    place.class_name,
                    place.location,
                    view.view,
                    facts.time or "",
                    facts.lon,
                    facts.lat,
                    facts.gsd_m,
                    facts.country or "",
                    facts.utm or "",
                )
            )
    return rows, lost


def _facts(root: Path, metadata: str) -> Facts:
    """Of a file."""
    try:
        return Facts.of(_read(f"{root}/{metadata}"))
    except OSError as error:
        return Facts(error=f"its metadata {metadata} cannot be read ({error.strerror})")


def _known(truth: Truth, metadata: str) -> Facts:
    return truth.facts(metadata) or Facts(error=f"its metadata {metadata} is not in the ground truth")


def _read(path: str) -> bytes:
    """A small file; half the time of `open`."""
    file = os.open(path, os.O_RDONLY)
    try:
        data = os.read(file, _SMALL)
        while len(data) % _SMALL == 0 and (more := os.read(file, _SMALL)):
            data += more
        return data
    finally:
        os.close(file)


def _geo(rows: list[Row], config: FmowCsvConfig) -> tuple[Clusters | None, list[int]]:
    if not rows:
        return None, []
    lon = np.array([row.lon for row in rows])
    lat = np.array([row.lat for row in rows])
    clusters = cluster(lon, lat, k=config.k, seed=config.seed, space=config.space)
    return clusters, clusters.assign(lon, lat).tolist()


def _write_list(store: Store, name: str, rows: list[Row], labels: list[int]) -> None:
    import pyarrow as pa

    from rsdata.curate.tables import write_csv

    kinds = (
        pa.string(),
        pa.string(),
        pa.int64(),
        pa.int64(),
        pa.string(),
        pa.float64(),
        pa.float64(),
        pa.float64(),
    )
    columns = list(zip(*rows, strict=True)) or [()] * (len(COLUMNS) - 1)
    arrays = [
        pa.array(values, kind)
        for values, kind in zip(columns, (*kinds, pa.string(), pa.string()), strict=True)
    ]
    write_csv(store, name, pa.table([pa.array(labels, pa.int64()), *arrays], names=list(COLUMNS)))


def _write_failures(store: Store, lost: list[Lost]) -> None:
    import pyarrow as pa

    from rsdata.curate.tables import write_csv

    columns = {
        "path": [item.path for item in lost],
        "class": [str(item.kind) for item in lost],
        "reason": [item.reason.replace("\n", " ") for item in lost],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    write_csv(store, "failures.csv", table)


def _write_clusters(
    store: Store,
    clusters: Clusters,
    rows: list[Row],
    labels: NDArray[np.int64],
    config: FmowCsvConfig,
) -> None:
    from rsdata.curate.geofiles import describe

    lon = np.array([row.lon for row in rows])
    lat = np.array([row.lat for row in rows])
    facts = describe(clusters, lon, lat, labels)
    facts["settings"] = config.to_dict()
    store.write("clusters.json", (json.dumps(facts, indent=1, allow_nan=False) + "\n").encode())
