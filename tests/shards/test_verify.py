from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import Place, build_set, damage, pattern
from shards.errors import ShardError
from shards.index import Index
from shards.verify import VerifyReport, verify


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify") / "set"
    places = [Place([pattern(3 * i + v, 20, 20) for v in range(1 + i % 2)], label=i % 2) for i in range(7)]
    build_set(folder, places, samples_per_shard=3)
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "set")


def only(report: VerifyReport) -> tuple[str, str, int | None, str]:
    (found,) = report.damages
    return found.file, found.key, found.byte, found.what


def test_a_whole_set_is_whole(whole: Path) -> None:
    report = verify(whole)
    assert report.ok
    assert (report.shards, report.samples, report.views) == (3, 7, 10)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_found_and_placed(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    shard = data.draw(st.sampled_from(["set-000000.tar", "set-000001.tar", "set-000002.tar"]))
    original = (whole / shard).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    folder = tmp_path / "flipped"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    damage(folder, shard, at)
    report = verify(folder)
    assert {d.file for d in report.damages} == {shard}
    first = report.damages[0]
    assert first.byte is not None
    with tarfile.open(whole / shard) as tar:
        infos = list(tar)
    for info in infos:
        if info.offset_data <= at < info.offset_data + info.size:
            assert (first.key, first.byte) == (info.name.split(".")[0], info.offset_data)
            assert info.name in first.what
            break
    else:  # a header, padding or the end: known to the byte
        assert first.byte == at


def test_the_sha_is_what_finds_damage_where_the_index_is_gone(copy: Path) -> None:
    damage(copy, "set-000001.tar", 700)
    (copy / "index.parquet").write_bytes(b"PAR1")
    files = {d.file: d.what for d in verify(copy).damages}
    assert "belongs to another data set" in files["index.parquet"]
    assert "sha256" in files["set-000001.tar"]
    (copy / "index.parquet").unlink()
    assert {d.file for d in verify(copy).damages} == {"index.parquet", "set-000001.tar"}


@pytest.mark.parametrize("keep", [0, 100, 512, 3000, -10240, -1])
def test_a_truncated_tar_says_where_it_ends(copy: Path, keep: int) -> None:
    path = copy / "set-000000.tar"
    data = path.read_bytes()[:keep]
    path.write_bytes(data)
    file, _, byte, what = only(verify(copy))
    assert (file, byte) == ("set-000000.tar", len(data))
    assert "truncated" in what


def test_appended_bytes_are_found(copy: Path) -> None:
    path = copy / "set-000000.tar"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"more")
    assert only(verify(copy))[2:] == (size, "4 bytes follow the end of the archive")


def test_swapped_missing_extra_and_repacked_tars(copy: Path) -> None:
    a, b = copy / "set-000000.tar", copy / "set-000001.tar"
    one, two = a.read_bytes(), b.read_bytes()
    a.write_bytes(two)
    b.write_bytes(one)
    damages = verify(copy).damages
    assert [d.file for d in damages] == [a.name, b.name]
    assert "holds the bytes of set-000001.tar: the files were swapped" in damages[0].what
    b.write_bytes(two)
    a.unlink()
    assert only(verify(copy)) == (a.name, "", None, "is missing (3 samples)")
    a.write_bytes(one)
    shutil.copy(a, copy / "stray.tar")
    assert only(verify(copy)) == ("stray.tar", "", None, "is no part of this set; remove it")
    (copy / "stray.tar").unlink()
    _repack_reversed(a)
    file, key, byte, what = only(verify(copy))
    assert (file, key, byte) == (a.name, "place-00000", 0)
    assert "holds sample place-00002 here: the tar was packed again in another order" in what


def _repack_reversed(path: Path) -> None:
    index = Index.open(path.parent)
    shards = index.table["shard"].to_pylist()
    rows = {index.keys([row])[0]: row for row in range(len(index)) if shards[row] == path.name}
    body = b"".join(index.sample_bytes(row) for row in reversed(rows.values()))
    size = path.stat().st_size
    path.write_bytes(body + bytes(size - len(body)))


def test_wids_json_is_checked(copy: Path) -> None:
    wids = json.loads((copy / "wids.json").read_text())
    wids["shardlist"][0]["nsamples"] += 1
    (copy / "wids.json").write_text(json.dumps(wids))
    assert only(verify(copy))[0] == "wids.json"
    (copy / "wids.json").write_text("{")
    assert "cannot be read" in only(verify(copy))[3]
    (copy / "wids.json").unlink()
    assert only(verify(copy))[3] == "is missing"


def test_an_unfinished_or_edited_set_is_one_sentence(copy: Path) -> None:
    text = (copy / "dataset.json").read_text()
    (copy / "dataset.json").write_text(text.replace('"builder"', '"other"'))
    with pytest.raises(ShardError, match="fingerprint differs"):
        verify(copy)
    (copy / "dataset.json").unlink()
    with pytest.raises(ShardError, match=r"no dataset\.json"):
        verify(copy)


def test_the_command_exits_1_and_names_shard_key_and_byte(copy: Path) -> None:
    index = Index.open(copy)
    at = index.table["offset"][len(index) - 1].as_py()
    damage(copy, "set-000002.tar", at + 3)
    done = subprocess.run(
        [sys.executable, "-m", "rsdata", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert (
        f"set-000002.tar, sample place-00006, byte {at:,}: the contents of place-00006.png differ"
        in done.stdout
    )
    assert "Traceback" not in done.stderr
