from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.errors import ShardError
from shards.sample import Sample, View, clean_key
from shards.store import Store
from shards.writer import ShardWriter, open_shard

keys = st.text("abcXYZ019_-", min_size=1, max_size=60)
members = st.dictionaries(
    st.sampled_from(["jpg", "000.jpg", "001.jpg", "json", "cls", "s0.b10.npy"]),
    st.binary(max_size=1500),
    min_size=1,
)


def sample(key: str, content: dict[str, bytes]) -> Sample:
    return Sample(key, content, ())


def write(samples: list[Sample]) -> bytes:
    out = io.BytesIO()
    writer = ShardWriter("a.tar", out)
    for one in samples:
        writer.write(one)
    facts = writer.close()
    data = out.getvalue()
    assert (facts.bytes, facts.samples) == (len(data), len(samples))
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    return data


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(keys, members), max_size=6, unique_by=lambda pair: pair[0].lower()))
def test_bytes_are_those_of_the_stock_writer(content: list[tuple[str, dict[str, bytes]]]) -> None:
    import webdataset

    stock = io.BytesIO()
    writer = webdataset.TarWriter(stock, mtime=0, encoder=False)
    for key, parts in content:
        writer.write({"__key__": key, **dict(sorted(parts.items()))})
    writer.close()
    assert write([sample(key, parts) for key, parts in content]) == stock.getvalue()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(keys, members), min_size=1, max_size=6, unique_by=lambda pair: pair[0].lower()))
def test_offsets_lead_to_the_members(content: list[tuple[str, dict[str, bytes]]]) -> None:
    out, end = io.BytesIO(), 0
    writer = ShardWriter("a.tar", out)
    placed = [writer.write(sample(key, parts)) for key, parts in content]
    writer.close()
    data = out.getvalue()
    for (_, parts), where in zip(content, placed, strict=True):
        assert where.offset == end, "regions tile the tar"
        end = where.offset + where.length
        assert zlib.crc32(data[where.offset : end]) == where.crc32
        for name, place in where.members.items():
            body = data[place.offset : place.offset + place.length]
            assert body == parts[name]
            assert (zlib.crc32(body), hashlib.sha256(body).hexdigest()) == (place.crc32, place.sha256)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = [info.name for info in tar]
    assert names == [f"{key}.{name}" for key, parts in content for name in sorted(parts)]


def test_a_region_can_be_copied_as_it_stands() -> None:
    two = [sample("a", {"jpg": b"x" * 700, "json": b"{}"}), sample("b", {"jpg": b"yy"})]
    original = write(two)
    out = io.BytesIO()
    writer = ShardWriter("b.tar", out)
    assert writer.copy("a", original[:2560], 1) == 0
    assert writer.copy("b", original[2560:3584], 1) == 2560
    writer.close()
    assert out.getvalue() == original


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (sample("a.b", {"jpg": b""}), "a dot would end the key"),
        (sample("a/b", {"jpg": b""}), "only letters"),
        (sample("", {"jpg": b""}), "only letters"),
        (sample("a\n", {"jpg": b""}), "only letters"),
        (sample("a", {"JPG": b""}), "lower-case ending"),
        (sample("a", {"../x": b""}), "lower-case ending"),
        (sample("a", {}), "has no members"),
        (sample("k" * 97, {"json": b""}), "passes 100 characters"),
        (Sample("a", {"jpg": b""}, (View("png", 1, 1),)), "names no member"),
    ],
)
def test_what_readers_would_misread_is_refused(bad: Sample, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        ShardWriter("a.tar", io.BytesIO()).write(bad)


def test_keys_that_differ_in_case_are_refused() -> None:
    writer = ShardWriter("a.tar", io.BytesIO())
    writer.write(sample("Ab", {"jpg": b""}))
    with pytest.raises(ShardError, match=r"a\.tar: key 'aB' occurs twice"):
        writer.write(sample("aB", {"jpg": b""}))
    with pytest.raises(ShardError, match="occurs twice"):
        writer.copy("AB", b"", 1)


@given(st.text(max_size=30))
def test_any_text_has_a_legal_key(text: str) -> None:
    sample(clean_key(text), {"jpg": b""}).check()


def test_a_tar_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(ZeroDivisionError), open_shard(store, "a.tar") as writer:
        writer.write(sample("a", {"jpg": b"x"}))
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_stock_readers_read_the_shards(tmp_path: Path) -> None:
    import numpy as np
    import webdataset
    import wids

    from builders import Place, build_set, pattern

    places = [Place([pattern(i)], label=i % 3) for i in range(7)]
    build_set(tmp_path, places, samples_per_shard=3)
    tars = [str(path) for path in sorted(tmp_path.glob("*.tar"))]
    stream = webdataset.WebDataset(tars, shardshuffle=False, empty_check=False).decode("rgb8")
    read = list(stream.to_tuple("__key__", "png", "cls"))
    assert [key for key, _, _ in read] == [f"place-{i:05d}" for i in range(7)]
    for i, (_, image, label) in enumerate(read):
        assert np.array_equal(image, places[i].views[0])
        assert label == i % 3
    assert json.loads((tmp_path / "wids.json").read_text())["wids_version"] == 1
    table = wids.ShardListDataset(str(tmp_path / "wids.json"), cache_dir=str(tmp_path / "cache"), keep=True)
    assert len(table) == 7
    assert table[4]["__key__"] == "place-00004"
    assert np.array_equal(np.asarray(table[4][".png"]), places[4].views[0])
