"""Pixels of many bands as bytes: lossless, the same everywhere, and never larger than they say."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from multiband import build_multiband, ground
from rsdata.sensors import SENSORS
from shards.codec import ImageError, decode
from shards.errors import ShardError
from shards.raster import DTYPES, MAX_VALUES, decode_raster, encode_raster
from shards.stats import Histogram
from shards.verify import verify

S2 = SENSORS["s2-l2a"]
DOCS = Path(__file__).resolve().parents[2] / "docs" / "payload.md"


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(DTYPES).flatmap(
        lambda kind: arrays(kind, st.tuples(*(st.integers(1, n) for n in (5, 40, 70))))
    )
)
def test_what_is_written_is_read_back(pixels: np.ndarray) -> None:
    data = encode_raster(pixels)
    back = decode_raster(data)
    assert back.dtype == pixels.dtype and back.tobytes() == pixels.tobytes()
    assert decode_raster(data, [0]).tobytes() == pixels[:1].tobytes()
    assert decode("000.b10.b2nd", data).shape == (*pixels.shape[1:], pixels.shape[0])


def test_bands_come_in_the_order_asked_for() -> None:
    pixels = ground(S2, 0)[10]
    assert np.array_equal(decode_raster(encode_raster(pixels), [3, 0, 1]), pixels[[3, 0, 1]])


def test_large_arrays_other_byte_orders_and_strides_are_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (2, 1001, 777)).astype(np.uint16)
    data = encode_raster(pixels)
    assert np.array_equal(decode_raster(data), pixels)
    assert encode_raster(pixels.astype(">u2")) == data
    assert encode_raster(np.asfortranarray(pixels)) == data


def test_the_bytes_depend_on_the_pixels_alone() -> None:
    pixels = ground(S2, 1)[20]
    here = hashlib.sha256(encode_raster(pixels)).hexdigest()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: hashlib.sha256(encode_raster(pixels)).hexdigest(), range(32))) == {here}
    code = (
        "import sys, hashlib; sys.path.insert(0, 'tests'); import blosc2; blosc2.set_nthreads(7)\n"
        "from multiband import ground; from rsdata.sensors import SENSORS; from shards.raster import encode_raster\n"
        "print(hashlib.sha256(encode_raster(ground(SENSORS['s2-l2a'], 1)[20])).hexdigest())"
    )
    root = Path(__file__).resolve().parents[2]
    other = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == here


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "not an array of bands"),
        (lambda data: b"<html>404</html>", "begins with b'<html>40'"),
        (lambda data: data[:-1], "truncated or damaged"),
        (lambda data: data[:40], "truncated or damaged"),
        (lambda data: data + b"x", "truncated or damaged"),
    ],
)
def test_foreign_and_broken_bytes_are_refused(change, message: str) -> None:
    with pytest.raises(ImageError, match=re.escape(message)):
        decode_raster(change(encode_raster(ground(S2, 0)[60])))


def test_damage_anywhere_is_an_error_of_ours_or_other_pixels_and_never_a_crash() -> None:
    rng = np.random.default_rng(0)
    data = encode_raster(rng.integers(0, 4000, (3, 40, 40)).astype(np.uint16))
    for number in range(3000):
        broken = bytearray(data)
        reach = 300 if number % 2 else len(data)  # half of them in the header
        for at in rng.integers(0, reach, rng.integers(1, 4)):
            broken[at] = rng.integers(256)
        with suppress(ImageError):
            assert decode_raster(bytes(broken)).size <= MAX_VALUES


def test_a_bomb_is_refused_by_what_it_declares() -> None:
    import blosc2

    for shape, kind, message in (
        ((40, 9_000, 9_000), np.uint16, "more than 300,000,000 values"),
        ((8, 8), np.uint16, r"shape \(8, 8\); expected \[bands, height, width\]"),
        ((1, 8, 8), np.complex64, "complex64 pixels; a payload of bands is one of uint8"),
    ):
        bomb = blosc2.zeros(shape, dtype=kind, chunks=(1, *shape[1:]) if len(shape) == 3 else shape)
        data = bomb.to_cframe()
        assert len(data) < 20_000
        with pytest.raises(ImageError, match=message):
            decode_raster(data)
    with pytest.raises(ImageError, match="expected one band a chunk"):
        decode_raster(blosc2.zeros((4, 8, 8), dtype=np.uint16, chunks=(4, 8, 8)).to_cframe())


def test_what_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ImageError, match="int64 pixels"):
        encode_raster(np.zeros((1, 2, 2), np.int64))
    with pytest.raises(ImageError, match="expected \\[bands, height, width\\]"):
        encode_raster(np.zeros((2, 0, 2), np.uint16))


def test_the_documented_ten_lines_read_a_view(tmp_path: Path) -> None:
    places = [[ground(S2, 1), ground(S2, 2)], [ground(S2, 3)]]
    build_multiband(tmp_path, places)
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert code is not None and len(code[1].strip().splitlines()) <= 10
    found: dict[str, object] = {}
    exec(code[1].replace("seco/", f"{tmp_path}/"), found)
    assert np.array_equal(found["pixels"], places[0][0][10])


def test_members_of_a_view_are_found_and_checked(tmp_path: Path) -> None:
    places = [[ground(S2, i), ground(S2, i + 1)] for i in (1, 3)]
    index = build_multiband(tmp_path, places)
    assert [band.name for band in index.info.bands] == [
        "B2",
        "B3",
        "B4",
        "B8",
        "B5",
        "B6",
        "B7",
        "B8A",
        "B11",
        "B12",
        "B1",
        "B9",
    ]
    assert index.info.rgb == ("B4", "B3", "B2")
    for row, view in enumerate(view for views in places for view in views):
        got = index.read_parts(row, ["b60.b2nd", "b20.b2nd"])
        assert np.array_equal(decode_raster(got["b60.b2nd"]), view[60])
        assert np.array_equal(decode_raster(got["b20.b2nd"]), view[20])
    assert verify(tmp_path).ok
    name = next(m for m in index.parts(2) if m.endswith("b20.b2nd"))
    at = index.parts(2)[name][0] + 500
    tar = tmp_path / "set-000000.tar"
    data = bytearray(tar.read_bytes())
    data[at] ^= 1
    tar.write_bytes(data)
    index = type(index).open(tmp_path)
    index.read(2)
    with pytest.raises(ShardError, match=r"sample 000001 at byte .* is damaged"):
        index.read_parts(2, ["b20.b2nd"])
    with pytest.raises(ShardError, match=r"has no member \.b30\.b2nd; it has 000\.b10\.b2nd"):
        index.read_parts(0, ["b30.b2nd"])
    assert ["the contents of 000001.000.b20.b2nd differ" in d.what for d in verify(tmp_path).damages] == [
        True
    ]


def test_an_index_that_puts_a_member_elsewhere_is_found(tmp_path: Path) -> None:
    from shards import parquet
    from shards.dataset import finish
    from shards.index import PARTS, to_bytes

    index = build_multiband(tmp_path, [[ground(S2, 1)]])
    parts = json.loads(index.table[PARTS][0].as_py())
    parts["000.b20.b2nd"][0] += 512
    column = index.table.column_names.index(PARTS)
    table = index.table.set_column(column, PARTS, [[json.dumps(parts)]])
    finish(index.store, index.info, to_bytes(table))
    assert parquet.read(index.store.read("index.parquet")).num_rows == 1
    report = verify(tmp_path)
    assert [d.what for d in report.damages] == [
        "the index puts 000.b20.b2nd here, but its header is not before it"
    ]


@pytest.mark.parametrize("kind", DTYPES)
def test_statistics_of_every_type_add_up_in_any_order(kind: str) -> None:
    rng = np.random.default_rng(0)
    images = [
        (rng.gamma(3, 20, (30, 40, 2)) - (20 if kind[0] in "if" else 0)).clip(-60, 250).astype(kind)
        for _ in range(7)
    ]
    parts = [Histogram.of(image) for image in images]
    total, other = Histogram.total(parts), Histogram.total(parts[::-1])
    assert total is not None and other is not None and total.stats(["a", "b"]) == other.stats(["a", "b"])
    assert np.array_equal(Histogram.load(json.loads(json.dumps(total.dump()))).counts, total.counts)
    whole = np.stack(images).astype(np.float64)
    near = 0.004 if kind == "float32" else 1e-9
    for band, stats in enumerate(total.stats(["a", "b"])):
        values = whole[..., band]
        assert stats.mean == pytest.approx(values.mean(), rel=near / 10)
        assert stats.std == pytest.approx(values.std(), rel=near / 4)
        assert stats.minimum == pytest.approx(values.min(), rel=near)
        assert stats.maximum == pytest.approx(values.max(), rel=near)
        for q, value in stats.quantiles.items():
            exact = np.quantile(values, float(q), method="inverted_cdf")
            assert value == pytest.approx(exact, rel=near)
    if kind == "float32":
        spoiled = images[0].copy()
        spoiled[0, 0, 0], spoiled[0, 1, 0] = np.nan, np.inf
        assert Histogram.of(spoiled).stats(["a", "b"])[0].pixels == 30 * 40 - 2
