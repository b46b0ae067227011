"""Index: one row a view, with the byte range of its pixels, so that any member is one read away.

`index.parquet` is valid GeoParquet 1.1 (WKB points, OGC:CRS84) and opens in geopandas, DuckDB and QGIS.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from shards import parquet
from shards.cache import ShardCache
from shards.dataset import DatasetInfo, Shard, read_info
from shards.errors import ShardError
from shards.reading import Reading
from shards.sample import Sample, View
from shards.store import Store
from shards.writer import Written

NAME = "index.parquet"
BASE = pa.schema(
    [
        ("shard", pa.string()),
        ("key", pa.string()),
        ("member", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("crc32", pa.int64()),
        ("sha256", pa.string()),
        ("label", pa.int32()),
        ("split", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("time", pa.timestamp("ms", "UTC")),
        ("gsd_m", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("sample_offset", pa.int64()),
        ("sample_length", pa.int64()),
        ("sample_crc32", pa.int64()),
        ("geometry", pa.binary()),
    ]
)


def rows_of(shard: str, sample: Sample, written: Written) -> list[dict[str, Any]]:
    """The index rows of a sample just written."""
    rows = []
    for view in sample.views:
        place = written.members[view.member]
        rows.append(
            {
                "shard": shard,
                "key": sample.key,
                "member": view.member,
                "offset": place.offset,
                "length": place.length,
                "crc32": place.crc32,
                "sha256": place.sha256,
                "label": view.label,
                "split": view.split,
                "lon": view.lon,
                "lat": view.lat,
                "time": view.time,
                "gsd_m": view.gsd_m,
                "width": view.width,
                "height": view.height,
                "source": view.source,
                "licence": view.licence,
                "sample_offset": written.offset,
                "sample_length": written.length,
                "sample_crc32": written.crc32,
                "geometry": _point(view.lon, view.lat),
                **_parts(view, written),
                **view.extra,
            }
        )
    return rows


PARTS = "parts"
"""Column of a set whose views have several members: JSON, name -> [offset from the view's own, length, crc32]."""


def _parts(view: View, written: Written) -> dict[str, str]:
    if not view.parts:
        return {}
    own = written.members[view.member].offset
    places = {name: written.members[name] for name in view.parts}
    return {PARTS: json.dumps({name: [p.offset - own, p.length, p.crc32] for name, p in places.items()})}


def table_of(rows: list[dict[str, Any]], extra: Mapping[str, pa.DataType]) -> pa.Table:
    """Rows as a table: the base columns, then the source's own in the order given."""
    schema = pa.schema([*BASE, *(pa.field(name, kind) for name, kind in extra.items())])
    columns = {}
    for column in schema:
        values = [row.get(column.name) for row in rows]
        if pa.types.is_timestamp(column.type):
            columns[column.name] = _times(values)
        else:
            columns[column.name] = pa.array(values, column.type)
    return pa.table(columns, schema=schema)


def to_bytes(table: pa.Table) -> bytes:
    """GeoParquet, the same bytes for the same rows."""
    lon, lat = table["lon"].drop_null(), table["lat"].drop_null()
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Point"]}
    if len(lon):
        lon_range, lat_range = pc.min_max(lon).as_py(), pc.min_max(lat).as_py()
        column["bbox"] = [lon_range["min"], lat_range["min"], lon_range["max"], lat_range["max"]]
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
    table = table.replace_schema_metadata({"geo": json.dumps(geo, sort_keys=True)})
    return parquet.to_bytes(table, rows_per_group=1 << 17)


class Index:
    """The rows of a finished shard set and its open tars; every read is checked against its crc."""

    def __init__(
        self,
        store: Store,
        info: DatasetInfo,
        table: pa.Table,
        reading: Reading | None = None,
        cache: ShardCache | None = None,
    ) -> None:
        self.store = store
        self.cache = None if store.local else cache
        """Where shards of a URL are kept; None: each read goes to the URL."""
        self.reading = reading or Reading(tuple(band.name for band in info.bands))
        """What a trainer takes of each view; by default every band as it is stored."""
        self.info = info
        self.table = table
        self._offset = table["offset"].to_numpy()
        self._length = table["length"].to_numpy()
        self._crc = table["crc32"].to_numpy()
        names = [shard.name for shard in info.shards]
        number = pc.index_in(table["shard"], pa.array(names, pa.string()))
        if number.null_count:
            raise ShardError(
                f"{store}: {NAME} names shards that {_INFO} does not; it belongs to another data set"
            )
        self._shard = number.to_numpy()
        self._names = names
        self._maps: dict[int, mmap.mmap] = {}

    @classmethod
    def open(
        cls, folder: str | Path | Store, *, split: str | None = None, cache: ShardCache | None = None
    ) -> Self:
        """Open a set; `split` keeps the rows of one split, `cache` the shards of a URL.

        Raises:
            ShardError: no finished set is there, the index is another set's, or the split does not exist.
        """
        store = Store.of(folder)
        info = read_info(store)
        data = store.read(NAME)
        if len(data) != info.index_bytes or info.index_sha256 != _sha256(data):
            raise ShardError(
                f"{store.path(NAME)}: is not the index that {_INFO} was written with (sha256 differs)\n"
                "  It is damaged or belongs to another data set: copy it again, or rebuild the set."
            )
        index = cls(store, info, parquet.read(data), cache=cache)
        return index if split is None else index.where(split=split)

    def __len__(self) -> int:
        return len(self._offset)

    def __getstate__(self) -> dict[str, Any]:
        """Memory maps do not travel to other processes; they are opened again there."""
        return self.__dict__ | {"_maps": {}}

    def column(self, name: str) -> NDArray[Any]:
        """One column as numpy; nulls of numbers become NaN."""
        if name not in self.table.column_names:
            known = ", ".join(self.table.column_names)
            raise ShardError(f"{self.store.path(NAME)}: has no column {name!r}; it has {known}")
        out: NDArray[Any] = self.table[name].to_numpy()
        return out

    def keys(self, rows: ArrayLike) -> list[str]:
        """Keys of some rows, for messages."""
        return [str(key) for key in self.table["key"].take(pa.array(np.asarray(rows))).to_pylist()]

    def take(self, rows: ArrayLike) -> Self:
        """The same set with these rows only, in this order."""
        table = self.table.take(pa.array(np.asarray(rows, np.int64)))
        return type(self)(self.store, self.info, table, self.reading, self.cache)

    def read_as(self, reading: Reading) -> Self:
        """The same rows, read otherwise.

        Raises:
            ShardError: the set has no such band.
        """
        known = [band.name for band in self.info.bands]
        for name in reading.bands:
            if name not in known:
                raise ShardError(f"{self.store}: has no band {name!r}; it has {', '.join(known)}")
        return type(self)(self.store, self.info, self.table, reading, self.cache)

    def where(self, *, split: str) -> Self:
        """Rows of one split."""
        mask = pc.equal(self.table["split"], split)
        if not pc.any(mask).as_py():
            known = ", ".join(sorted(set(self.table["split"].to_pylist()) - {None}))
            raise ShardError(f"{self.store}: has no split {split!r}; it has {known}")
        return type(self)(self.store, self.info, self.table.filter(mask), self.reading, self.cache)

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each row: the first row of its sample, and how many rows the sample has here."""
        key = self.table["key"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        pair = self._shard.astype(np.int64) * (int(key.max(initial=0)) + 1) + key
        starts = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]])
        counts = np.diff(np.r_[starts, len(pair)])
        return np.repeat(starts, counts), np.repeat(counts, counts)

    def read(self, row: int) -> bytes:
        """The bytes of a view.

        Raises:
            ShardError: they do not match their crc: the shard, key and offset are named.
        """
        return self._checked(row, int(self._offset[row]), int(self._length[row]), int(self._crc[row]))

    def parts(self, row: int) -> dict[str, tuple[int, int, int]]:
        """Offset in the shard, length and crc32 of every member of a view, by name; its own comes first."""
        own = int(self._offset[row])
        out = {self.table["member"][row].as_py(): (own, int(self._length[row]), int(self._crc[row]))}
        text = self.table[PARTS][row].as_py() if PARTS in self.table.column_names else None
        if text is not None:
            out |= {name: (own + at, length, crc) for name, (at, length, crc) in json.loads(text).items()}
        return out

    def read_parts(self, row: int, endings: Iterable[str]) -> dict[str, bytes]:
        """The bytes of the members of a view whose names end so, and of no others.

        Raises:
            ShardError: the view has no such member, or it does not match its crc.
        """
        places = self.parts(row)
        out = {}
        for ending in endings:
            name = next((m for m in places if m == ending or m.endswith(f".{ending}")), None)
            if name is None:
                raise ShardError(
                    f"{self.store.path(self._names[self._shard[row]])}: sample {self.keys([row])[0]} has no member "
                    f".{ending}; it has {', '.join(places)}\n  Run: rsdata verify {self.store}"
                )
            out[ending] = self._checked(row, *places[name])
        return out

    def _checked(self, row: int, offset: int, length: int, crc: int) -> bytes:
        shard = int(self._shard[row])
        data = self._bytes(shard, offset, length)
        if len(data) != length or zlib.crc32(data) != crc:
            key = self.keys([row])[0]
            raise ShardError(
                f"{self.store.path(self._names[shard])}: sample {key} at byte {offset} is damaged (crc differs)\n"
                f"  Run: rsdata verify {self.store}"
            )
        return data

    def sample_bytes(self, row: int) -> bytes:
        """The region of the tar that holds the whole sample of a row, headers and padding included."""
        start, length = self.table["sample_offset"][row].as_py(), self.table["sample_length"][row].as_py()
        return self._bytes(int(self._shard[row]), start, length)

    def block_bytes(self, block: int) -> NDArray[np.int64]:
        """Bytes of the shards into which each run of `block` rows falls."""
        ends = np.r_[0, np.cumsum([shard.bytes for shard in self.info.shards])]
        first = np.arange(0, len(self), block)
        last = np.minimum(first + block, len(self)) - 1
        out: NDArray[np.int64] = ends[self._shard[last] + 1] - ends[self._shard[first]]
        return out

    def shards_of(self, rows: ArrayLike) -> list[Shard]:
        """The shards of some rows, each once, in the order of its first row."""
        number = self._shard[np.asarray(rows)].ravel()
        first = np.sort(np.unique(number, return_index=True)[1])
        return [self.info.shards[i] for i in number[first].tolist()]

    def _bytes(self, shard: int, offset: int, length: int) -> bytes:
        if self.store.local is None and self.cache is None:
            return self.store.read(self._names[shard], offset, offset + length)
        view = self._maps.get(shard)
        if view is None:
            try:
                with self._open(shard) as file:
                    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise ShardError(
                    f"{self.store.path(self._names[shard])}: cannot be read ({_reason(error)}); run: rsdata verify "
                    f"{self.store}"
                ) from None
            self._maps[shard] = view
        return view[offset : offset + length]

    def _open(self, shard: int) -> IO[bytes]:
        if self.store.local is not None:
            return (self.store.local / self._names[shard]).open("rb")
        assert self.cache is not None
        for other in [s for s in self._maps if not self.cache.path(self.info.shards[s]).exists()]:
            del self._maps[other]  # a file that was evicted takes room as long as it is mapped
        return self.cache.open(self.store, self.info.shards[shard])


_INFO = "dataset.json"


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def _point(lon: float | None, lat: float | None) -> bytes | None:
    if lon is None or lat is None:
        return None
    return struct.pack("<BIdd", 1, 1, lon, lat)


def _times(values: Iterable[str | None]) -> pa.Array:
    from datetime import UTC, datetime

    parsed = []
    for value in values:
        when = None if value is None else datetime.fromisoformat(value)
        parsed.append(when if when is None or when.tzinfo else when.replace(tzinfo=UTC))
    return pa.array(parsed, pa.timestamp("ms", "UTC"))
