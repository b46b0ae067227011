"""The ground truth of the fMoW challenge: coordinates of every image, and which place each folder of test and seq is.

Every JSON that lies beside the images lost its coordinates for the challenge, and those of test and seq were disturbed.
What was taken away is in `groundtruth.tar.bz2` of the bucket (245 MB, a million JSON files, release 1.2.1):
`{train,val}/<class>/<place>/…json`, `{test,seq}_gt/<class>/<place>/…json` and `{test,seq}_gt_mapping.json`, a list of
`{"input": "test_gt/<class>/<place>", "output": "test/<number>"}`. Unpacked copies also name the first two `train_gt`, `val_gt`.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rsdata.fmow.files import HIDDEN, PLACE, SPLITS
from rsdata.fmow.metadata import Facts
from shards.console import say
from shards.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

_FORMAT = 1
"""Of the table that is kept of an archive."""
_LARGEST = 1 << 20
"""Bytes of one metadata file; real ones have 2 to 5 kB."""
_LARGEST_MAPPING = 1 << 28
_BATCH = 50_000
_TOPS = {*SPLITS, *(f"{split}_gt" for split in HIDDEN)}


@dataclass(frozen=True)
class Truth:
    """What the ground truth says."""

    facts: Callable[[str], Facts | None]
    """Path of a metadata file, as `ViewFile.metadata` has it -> its facts; None where there are none."""
    hidden: dict[str, tuple[str, int]]
    """`test/0011978` -> class and location."""
    classes: dict[str, set[str]]
    """Split -> its class folders."""


def from_folder(root: Path) -> Truth:
    """An unpacked archive, or any second tree with metadata.

    Raises:
        UserError: a mapping that cannot be read.
    """
    names = {split: split if (root / split).is_dir() else f"{split}_gt" for split in SPLITS}
    names |= {f"{split}_gt": f"{split}_gt" for split in HIDDEN}

    def facts(path: str) -> Facts | None:
        split, _, rest = path.partition("/")
        file = root / names.get(split, split) / rest
        try:
            return Facts.of(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return Facts(error=f"{file}: cannot be read ({error.strerror})")

    hidden: dict[str, tuple[str, int]] = {}
    for split in HIDDEN:
        file = root / f"{split}_gt_mapping.json"
        if file.is_file():
            hidden |= _mapping(file.read_bytes(), str(file))
    classes = {}
    for key, name in names.items():
        folder = root / name
        found = {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()
        classes[key.removesuffix("_gt")] = found
    return Truth(facts, hidden, classes)


def from_archive(path: Path, cache: Path, kind: str) -> Truth:
    """An archive; what is kept of its files is written once to a table in `cache`.

    Args:
        path: `groundtruth.tar.bz2`, or another tar.
        cache: folder of the table.
        kind: `rgb` or `msrgb`: the images whose facts are wanted.

    Raises:
        UserError: it cannot be read, or is no ground truth.
    """
    import pyarrow.compute as pc

    from shards import parquet
    from shards.store import Store

    status = path.stat()
    mark = json.dumps([_FORMAT, str(path.resolve()), status.st_size, status.st_mtime_ns])
    name = f"fmow-truth-{hashlib.sha256(mark.encode()).hexdigest()[:16]}.parquet"
    store = Store(cache)
    if not store.exists(name):
        say(f"{path}: is read once; what is kept of it goes to {store.path(name)}")
        store.make()
        store.write(name, parquet.to_bytes(_table(path)))
    table = parquet.read(store.read(name))
    hidden = _mapping((table.schema.metadata or {})[b"hidden"], name)
    table = table.filter(pc.ends_with(table["path"], f"_{kind}.json"))
    paths = table["path"].to_pylist()
    classes: dict[str, set[str]] = {split: set() for split in SPLITS + HIDDEN}
    for item in paths:
        split, class_name, _ = item.split("/", 2)
        classes[split.removesuffix("_gt")].add(class_name)
    row_of = dict(zip(paths, range(len(paths)), strict=True))
    columns = [table[column].combine_chunks() for column in Facts._fields]

    def facts(metadata: str) -> Facts | None:
        row = row_of.get(metadata)
        return None if row is None else Facts(*(column[row].as_py() for column in columns))

    return Truth(facts, hidden, classes)


def _table(path: Path) -> pa.Table:
    """One row a metadata file, in the order of paths; the mapping as metadata of the table."""
    import pyarrow as pa

    kinds = {name: pa.float64() for name in ("lon", "lat", "gsd_m", "cloud_cover")}
    kinds |= {name: pa.string() for name in ("path", "error", "time", "country", "utm")}
    schema = pa.schema([(name, kinds.get(name, pa.list_(pa.float64()))) for name in ("path", *Facts._fields)])
    batches, rows = [], []
    hidden: list[object] = []
    for name, data in _members(path):
        if name.endswith("_gt_mapping.json") and "/" not in name:
            hidden += json.loads(data) if _mapping(data, f"{path}: {name}") else []
            continue
        rows.append((name, *Facts.of(data)))
        if len(rows) == _BATCH:
            batches.append(_batch(rows, schema))
            rows = []
    batches.append(_batch(rows, schema))
    table = pa.Table.from_batches(batches, schema).combine_chunks().sort_by("path")
    paths = table["path"].to_pylist()
    twice = next((b for a, b in pairwise(paths) if a == b), None)
    if not paths or twice:
        what = f"holds {twice} twice" if twice else "holds no metadata of fMoW"
        raise UserError(f"{path}: {what}; it is not the archive that was published: fetch it again")
    return table.replace_schema_metadata({"hidden": json.dumps(hidden)})


def _batch(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each JSON, read in one pass; nothing is written, so a member cannot go astray."""
    try:
        with tarfile.open(path, "r|*") as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # else it keeps them all, a million
                name = member.name.removeprefix("./").removeprefix("groundtruth/")
                if not member.isfile() or not name.endswith(".json"):
                    continue
                for split in SPLITS:
                    if name.startswith(f"{split}_gt/"):
                        name = split + name[len(split) + 3 :]
                mapping = name.endswith("_gt_mapping.json") and "/" not in name
                if not mapping and (name.count("/") != 3 or name.partition("/")[0] not in _TOPS):
                    continue
                if member.size > (_LARGEST_MAPPING if mapping else _LARGEST):
                    raise UserError(
                        f"{path}: {member.name[:200]} has {member.size:,} bytes; it is no metadata file of fMoW"
                    )
                file = archive.extractfile(member)
                assert file is not None, "it is a file"
                yield name, file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{path}: is damaged or no tar archive ({error}); remove it and fetch it again"
        ) from None


def _mapping(data: bytes, where: str) -> dict[str, tuple[str, int]]:
    """The folders of hidden places.

    Raises:
        UserError: not the list that was published.
    """
    out: dict[str, tuple[str, int]] = {}
    try:
        for pair in json.loads(data):
            top, class_name, place = pair["input"].split("/")
            split, _ = pair["output"].split("/")
            match = PLACE.match(place)
            if top != f"{split}_gt" or match is None or match["cls"] != class_name:
                raise ValueError
            out[pair["output"]] = (class_name, int(match["loc"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(
            f"{where}: is not the published mapping, a list of "
            '{"input": "test_gt/<class>/<class>_<number>", "output": "test/<number>"}'
        ) from None
    return out
