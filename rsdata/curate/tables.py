"""Tables by path: CSV, Parquet, GeoParquet or a shard set in; CSV out, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shards.errors import UserError
from shards.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]


def read_table(path: Path) -> pa.Table:
    """A table; the cells of a CSV stay the text they are, so that it can be written again unchanged.

    Raises:
        UserError: missing, empty, or none of the kinds.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        from shards.index import Index

        return Index.open(path).table
    if not path.exists():
        raise UserError(
            f"{path}: there is no such file; give a CSV, Parquet or GeoParquet file, or a shard set"
        )
    try:
        if path.suffix.lower() in (".parquet", ".geoparquet", ".pq"):
            with pq.ParquetFile(path) as file:  # not read_table, see shards.parquet
                table = file.read()
        else:
            table = _read_csv(path)
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: cannot be read as a table: {str(error).splitlines()[0]}") from None
    if len(set(table.column_names)) < table.num_columns:
        raise UserError(f"{path}: two columns have the same name; rename one")
    if not table.num_rows:
        raise UserError(f"{path}: has no rows")
    return table


def _read_csv(path: Path) -> pa.Table:
    import csv as pycsv

    import pyarrow as pa
    import pyarrow.csv as csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(pycsv.reader(file), [])
    if not names:
        raise UserError(f"{path}: is empty; the first row must name the columns")
    text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    newlines = csv.ParseOptions(newlines_in_values=True)
    return csv.read_csv(path, convert_options=text, parse_options=newlines)


def coordinates(table: pa.Table, path: Path, lon: str, lat: str) -> tuple[Floats, Floats]:
    """Two float columns; NaN where a cell is missing or no number. Points of a GeoParquet serve where there are none.

    Raises:
        UserError: the columns are not there.
    """
    names = table.column_names
    if lon not in names and lat not in names and "geometry" in names:
        import shapely

        _check_crs(table, path)
        points = shapely.from_wkb(table["geometry"].to_numpy(), on_invalid="ignore")
        points = shapely.centroid(points)
        return shapely.get_x(points), shapely.get_y(points)
    for name, option in ((lon, "--lon"), (lat, "--lat")):
        if name not in names:
            raise UserError(
                f"{path}: has no column {name!r}; it has {', '.join(names)} (choose with {option})"
            )
    return numbers(table[lon]), numbers(table[lat])


def _check_crs(table: pa.Table, path: Path) -> None:
    geo = json.loads((table.schema.metadata or {}).get(b"geo", b"{}"))
    crs = geo.get("columns", {}).get("geometry", {}).get("crs")  # absent means longitude and latitude
    if crs and crs.get("id", {}).get("code") not in (4326, "CRS84"):
        raise UserError(
            f"{path}: the geometries are in {crs.get('name', 'an unnamed CRS')}, not in longitude and latitude\n"
            "  Reproject them first (geopandas: to_crs(4326)), or add the columns lon and lat."
        )


def numbers(column: pa.ChunkedArray) -> Floats:
    """float64 of a column of numbers or of text; NaN for what is neither."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
    try:
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.array([_number(value) for value in column.to_pylist()], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def write_csv(store: Store, name: str, table: pa.Table) -> None:
    """CSV with a header, quoted only where needed; geometries as WKT, lists and structs as JSON."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as csv

    columns, plain = [], True
    for field in table.schema:
        column = _writable(table[field.name])
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = pc.fill_null(column, "")
            plain = plain and not pc.any(pc.match_substring_regex(column, '[",\r\n]')).as_py()
        columns.append(column)
    flat = pa.table(columns, names=table.column_names)
    options = csv.WriteOptions(include_header=False, quoting_style="none" if plain else "needed")
    with store.create(name) as file:
        file.write((",".join(_quoted(column) for column in flat.column_names) + "\n").encode())
        csv.write_csv(flat, file, options)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def _writable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        import shapely

        shapes = shapely.from_wkb(column.to_numpy(), on_invalid="ignore")
        return pa.chunked_array([pa.array(shapely.to_wkt(shapes), pa.string())])
    if pa.types.is_nested(kind):
        text = [None if v is None else json.dumps(v, default=str) for v in column.to_pylist()]
        return pa.chunked_array([pa.array(text, pa.string())])
    if pa.types.is_dictionary(kind):
        return column.cast(kind.value_type)
    return column


def digest(path: Path) -> str:
    """sha256 of a file, or of the index of a shard set."""
    file = path / "index.parquet" if path.is_dir() else path
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def beside(out: Path, ending: str) -> tuple[Store, str, str]:
    """Folder, file name and name without `ending` of an output file.

    Raises:
        UserError: the name does not end so, or is a folder.
    """
    if out.suffix.lower() != ending:
        raise UserError(f"{out}: give a file name that ends in {ending}")
    if out.is_dir():
        raise UserError(f"{out}: is a folder; give a file name that ends in {ending}")
    store = Store(out.parent)
    store.make()
    return store, out.name, out.name[: -len(ending)]
