"""Which files an fMoW archive in a bucket has: by listing it once, or from a manifest; and their bytes."""

from __future__ import annotations

import bz2
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsdata.fmow.files import HIDDEN, SPLITS
from rsdata.sources.base import LARGEST_FILE, FetchError
from shards.console import progress, say
from shards.errors import ConfigError, UserError

if TYPE_CHECKING:
    import pyarrow as pa

Files = list[tuple[str, int | None]]
"""Path relative to the archive's root, and bytes where they are known."""

_TOPS = tuple(f"{split}/" for split in SPLITS + HIDDEN)
_LARGEST_MANIFEST = 1 << 30
"""Bytes: ten million paths of a hundred characters."""
_LS = re.compile(r"\d{4}-\d\d-\d\d +\d\d:\d\d:\d\d +(?P<size>\d+) (?P<key>.+)")
"""A line of `aws s3 ls --recursive`."""


def is_remote(root: str) -> bool:
    """Whether a root is in a bucket."""
    return root.startswith("s3://")


def fetched(where: str, *, endpoint: str | None, cache: Path) -> Path:
    """A file on this machine: itself, or what was fetched of a URL; asked anew, a URL sends only what has changed.

    Raises:
        UserError: it is not there, or cannot be fetched.
    """
    if "://" not in where:
        path = Path(where)
        if not path.exists():
            raise ConfigError(f"{path}: there is no such folder or file")
        return path
    from rsdata.remote.files import download
    from rsdata.remote.http import client_for, is_loopback
    from rsdata.remote.objects import url_of
    from rsdata.remote.reach import shown
    from rsdata.remote.retry import RemoteError

    url = url_of(where, endpoint) if is_remote(where) else where
    if not url.startswith("https://") and not is_loopback(url):
        raise ConfigError(
            f"{shown(url)}: is without TLS, so anybody on the way could change it; use https or s3"
        )
    name = url.partition("?")[0].rsplit("/", 1)[-1]
    path = cache / f"fmow-{hashlib.sha256(url.encode()).hexdigest()[:16]}-{name}"
    try:
        with progress(f"fetch {name}", None, "B") as bar:
            download(url, path, client=client_for(url), progress=bar)
    except RemoteError as error:
        raise ConfigError(f"{shown(where)}: cannot be fetched ({error.kind}: {error.reason})") from None
    return path


def read(root: str, path: str, size: int | None, *, endpoint: str | None) -> bytes:
    """An image of a bucket, as it was when it was planned.

    Raises:
        FetchError: gone, changed since the plan, not to be had, or larger than 2 GiB.
    """
    from rsdata.remote.objects import read_object
    from rsdata.remote.retry import RemoteError
    from shards.failures import FailureClass

    if size is not None and size > LARGEST_FILE:
        raise FetchError(FailureClass.REFUSED, f"{size:,} bytes: files over 2 GiB are not read")
    url = f"{root.rstrip('/')}/{path}"
    try:
        data = read_object(url, endpoint=endpoint)
    except RemoteError as error:
        raise FetchError(error.kind, error.reason) from None
    if size is not None and len(data) != size:
        raise FetchError(
            FailureClass.INVALID, f"{url}: {len(data):,} bytes, {size:,} when planned; it was changed"
        )
    return data


def listed(root: str, prefixes: Sequence[str], *, endpoint: str | None, cache: Path) -> Files:
    """Every file below the prefixes of a bucket; asked for once, then read from a table in `cache`.

    Raises:
        UserError: the bucket does not answer, or has nothing there.
    """
    from rsdata.remote.objects import list_objects
    from rsdata.remote.retry import RemoteError
    from shards import parquet
    from shards.store import Store

    root = root.rstrip("/")
    mark = hashlib.sha256(json.dumps([endpoint, root, *sorted(prefixes)]).encode()).hexdigest()[:16]
    store, name = Store(cache), f"fmow-listing-{mark}.parquet"
    if store.exists(name):
        say(f"{root}: the listing is that of {store.path(name)}; remove it to list the bucket again")
        return _files(parquet.read(store.read(name)), store.path(name))
    start = root.removeprefix("s3://").partition("/")[2] + "/"
    found: Files = []
    try:
        for prefix in prefixes:
            for key, size in list_objects(f"{root}/{prefix}", endpoint=endpoint):
                found.append((key.removeprefix(start), size))
    except RemoteError as error:
        raise UserError(f"{root}: cannot be listed: {error.reason}; run the same command again") from None
    if not found:
        raise ConfigError(
            f"{root}: has nothing in {', '.join(prefixes)}; is it the folder that holds train/?"
        )
    store.make()
    store.write(name, parquet.to_bytes(_table(found)))
    return found


def from_manifest(path: Path) -> Files:
    """The files that a manifest names: the published JSON list, lines of paths or of `aws s3 ls`, or Parquet.

    Parquet has the columns `path` and, where known, `size`. Each may be compressed with bzip2. What stands before
    `train/`, `val/`, `test/` or `seq/` is cut off; lines without one of them are other files of the bucket.

    Raises:
        UserError: it cannot be read, or names no file of fMoW.
    """
    from shards import parquet

    try:
        data = path.read_bytes()
        if data[:3] == b"BZh":
            with bz2.open(path) as file:
                data = file.read(_LARGEST_MANIFEST + 1)
            if len(data) > _LARGEST_MANIFEST:
                raise UserError(
                    f"{path}: unpacks to more than {_LARGEST_MANIFEST:,} bytes; it is no manifest of fMoW"
                )
        if data[:4] == b"PAR1":
            files = _files(parquet.read(data), str(path))
        elif data[:1] == b"[":
            files = [(str(name), None) for name in json.loads(data)]
        else:
            files = [_line(line) for line in data.decode().splitlines()]
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is neither a JSON list, nor lines of text, nor Parquet ({error})") from None
    kept: dict[str, int | None] = {}
    for found, size in files:
        name = _inside(found)
        if name and kept.setdefault(name, size) != size:
            raise UserError(
                f"{path}: names {name} twice, with {kept[name]} and {size} bytes; remove one line"
            )
    if not kept:
        raise UserError(
            f"{path}: names no file of fMoW; expected such as train/airport/airport_0/airport_0_0_rgb.jpg"
        )
    return sorted(kept.items())


def _line(line: str) -> tuple[str, int | None]:
    match = _LS.match(line)
    return (match["key"], int(match["size"])) if match else (line.strip(), None)


def _inside(path: str) -> str:
    """The path from its split on; empty where there is none."""
    starts = [at for top in _TOPS if (at := f"/{path}".find(f"/{top}")) >= 0]
    return path[min(starts) :] if starts else ""


def _table(files: Iterable[tuple[str, int | None]]) -> pa.Table:
    import pyarrow as pa

    paths, sizes = zip(*files, strict=True)
    return pa.table({"path": pa.array(paths, pa.string()), "size": pa.array(sizes, pa.int64())})


def _files(table: pa.Table, where: str) -> Files:
    if "path" not in table.column_names:
        raise UserError(
            f"{where}: has the columns {', '.join(table.column_names)}; expected path, and size if known"
        )
    paths = table["path"].to_pylist()
    sizes = table["size"].to_pylist() if "size" in table.column_names else [None] * len(paths)
    return list(zip(paths, sizes, strict=True))
