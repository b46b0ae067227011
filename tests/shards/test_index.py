from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from builders import Place, build_set, damage, pattern
from shards.codec import decode
from shards.dataset import NAME, read_info
from shards.errors import ShardError
from shards.index import Index


@pytest.fixture
def built(tmp_path: Path) -> Index:
    places = [
        Place(
            [pattern(10 * i + v) for v in range(1 + i % 3)],
            label=i % 2,
            split="val" if i >= 6 else "train",
            lon=None if i == 2 else 10.0 * i - 20,
            lat=None if i == 2 else 5.0 * i,
            times=[f"201{v}-05-06T07:08:09Z" for v in range(1 + i % 3)],
            extra={"country": f"C{i}"},
        )
        for i in range(8)
    ]
    return build_set(tmp_path, places, samples_per_shard=3, extra={"country": pa.string()})


def test_every_view_is_one_read_away(built: Index) -> None:
    row = 0
    for i in range(8):
        for v in range(1 + i % 3):
            member = built.table["member"][row].as_py()
            assert np.array_equal(decode(member, built.read(row)), pattern(10 * i + v))
            row += 1
    assert row == len(built)


def test_places_group_the_views_of_a_sample(built: Index) -> None:
    first, count = built.places()
    assert count.tolist() == [1, 2, 2, 3, 3, 3, 1, 2, 2, 3, 3, 3, 1, 2, 2]
    assert first.tolist() == [0, 1, 1, 3, 3, 3, 6, 7, 7, 9, 9, 9, 12, 13, 13]


def test_an_index_travels_to_another_process_without_its_maps(built: Index) -> None:
    body = built.read(3)
    assert pickle.loads(pickle.dumps(built)).read(3) == body


def test_splits_are_parts_and_unknown_ones_are_named(built: Index) -> None:
    assert len(built.where(split="train")) + len(built.where(split="val")) == len(built)
    with pytest.raises(ShardError, match="no split 'test'; it has train, val"):
        built.where(split="test")
    with pytest.raises(ShardError, match="no column 'nope'"):
        built.column("nope")


def test_geopandas_and_duckdb_read_it(built: Index) -> None:
    import duckdb
    import geopandas

    path = f"{built.store.local}/index.parquet"
    frame = geopandas.read_parquet(path)
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    there = frame[frame.geometry.notna()]
    assert len(frame) - len(there) == 3, "the place without a position has no point"
    assert np.array_equal(there.geometry.x, there.lon)
    assert np.array_equal(there.geometry.y, there.lat)
    assert set(frame.country) == {f"C{i}" for i in range(8)}
    rows = duckdb.sql(
        f"select split, count(*), epoch_ms(max(time)) from '{path}' group by split order by split"
    ).fetchall()
    assert [row[:2] for row in rows] == [("train", 12), ("val", 3)]
    assert rows[0][2] == 1_336_288_089_000


def test_a_damaged_view_is_named_with_shard_key_and_byte(built: Index) -> None:
    row = 4
    shard, offset = built.table["shard"][row].as_py(), built.table["offset"][row].as_py()
    assert built.store.local is not None
    damage(built.store.local, shard, offset + 9)
    with pytest.raises(
        ShardError, match=rf"{shard}: sample place-00002 at byte {offset} is damaged"
    ) as error:
        Index.open(built.store).read(row)
    assert "rsdata verify" in str(error.value)


def test_parquet_is_read_without_pandas(built: Index) -> None:
    code = (
        "import sys; from pathlib import Path; from shards import parquet; data = Path(sys.argv[1]).read_bytes(); "
        "table = parquet.read(data); print(table.num_rows); assert 'pandas' not in sys.modules"
    )
    path = built.store.path("index.parquet")
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    assert int(done.stdout) == len(built)


def test_an_index_of_another_set_is_refused(built: Index, tmp_path: Path) -> None:
    other = build_set(tmp_path / "other", [pattern(1), pattern(2)])
    data = other.store.read("index.parquet")
    built.store.write("index.parquet", data)
    with pytest.raises(
        ShardError, match=r"(?s)index\.parquet: is not the index .* belongs to another data set"
    ):
        Index.open(built.store)


def test_unfinished_missing_and_edited_sets_say_so(built: Index, tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="is no shard set"):
        read_info(tmp_path / "nothing")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "plan.parquet").touch()
    with pytest.raises(ShardError, match=r"is not finished yet .* run: rsdata build"):
        read_info(tmp_path / "half")
    text = built.store.read(NAME).decode()
    built.store.write(NAME, text.replace('"source": "builder"', '"source": "edited"').encode())
    with pytest.raises(ShardError, match="was changed after it was written"):
        read_info(built.store)
    built.store.write(NAME, text[:200].encode())
    with pytest.raises(ShardError, match="cannot be understood"):
        read_info(built.store)
    built.store.write(NAME, json.dumps(json.loads(text) | {"format": 1, "more": 1}).encode())
    with pytest.raises(ShardError, match="cannot be understood"):
        read_info(built.store)


def test_equal_content_gives_equal_bytes_and_fingerprint(tmp_path: Path) -> None:
    places = [Place([pattern(i)], label=0, lon=float(i), lat=0.0) for i in range(4)]
    for name in ("a", "b"):
        build_set(tmp_path / name, places, samples_per_shard=2)
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
