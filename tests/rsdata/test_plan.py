"""The plan: complete, seeded, and the same whatever order the disk lists files in."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_trees import digests, folder, write_folder

from rsdata.build import build
from rsdata.plan import Plan, key_of, make_plan
from shards.errors import ConfigError, ShardError
from shards.sample import check_key

COUNTS = {"alpha": 7, "beta": 10, "gamma": 13}


def ids(out: Path) -> list[str]:
    plan = Plan.open(out)
    return [item.id for k in range(len(plan.info.shards)) for item in plan.items(k)]


def test_every_item_once_in_a_seeded_order(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", COUNTS)
    one, two, other = (
        make_plan(folder(root, seed=seed, samples_per_shard=8), tmp_path / name)
        for seed, name in ((1, "one"), (1, "two"), (2, "other"))
    )
    assert one.info == two.info and one.info.plan_digest != other.info.plan_digest
    assert ids(tmp_path / "one") == ids(tmp_path / "two") != ids(tmp_path / "other")
    assert len(set(ids(tmp_path / "one"))) == 30 and sorted(ids(tmp_path / "one")) == sorted(
        ids(tmp_path / "other")
    )
    assert [shard.items for shard in one.info.shards] == [8, 8, 8, 6]
    assert len({item.label for item in one.items(0)}) > 1, (
        "items are shuffled before they are cut into shards"
    )


def test_duckdb_reads_it_and_shards_are_named_by_split(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", COUNTS)
    make_plan(folder(root, test_fraction=0.3, samples_per_shard=11, name="toy"), tmp_path / "out")
    rows = duckdb.sql(
        f"select split, count(*), sum(bytes) from '{tmp_path}/out/plan.parquet' group by 1"
    ).fetchall()
    assert {split: count for split, count, _ in rows} == {"train": 21, "test": 9}
    assert sum(size for _, _, size in rows) == sum(p.stat().st_size for p in root.rglob("*.jpg"))
    names = [shard.name for shard in Plan.open(tmp_path / "out").info.shards]
    assert names == ["toy-train-000000.tar", "toy-train-000001.tar", "toy-test-000000.tar"]


def test_limit_draws_from_everything(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", COUNTS)
    make_plan(folder(root, limit=12), tmp_path / "out")
    assert len(ids(tmp_path / "out")) == 12
    assert len({name.split("/")[0] for name in ids(tmp_path / "out")}) == 3


def test_large_files_make_more_shards(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"a": 8})
    for path in root.rglob("*.jpg"):
        with path.open("r+b") as file:
            file.truncate(100_000_000)  # sparse
    shards = make_plan(folder(root), tmp_path / "out").info.shards
    assert [shard.items for shard in shards] == [2, 2, 2, 2]


def test_another_plan_is_refused_and_an_equal_one_kept(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", COUNTS)
    make_plan(folder(root), tmp_path / "out")
    before = (tmp_path / "out" / "plan.parquet").stat().st_mtime_ns
    make_plan(folder(root), tmp_path / "out")
    assert (tmp_path / "out" / "plan.parquet").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"holds another plan: seed was 0 and is 5\n.*another folder"):
        make_plan(folder(root, seed=5), tmp_path / "out")
    (root / "alpha" / "alpha_0.jpg").unlink()
    with pytest.raises(ConfigError, match="the archive had 30 items and has 29"):
        make_plan(folder(root), tmp_path / "out")


def test_a_set_does_not_lie_in_its_archive(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"a": 2})
    for out in (root, root / "out", root / "a" / ".." / "out"):
        with pytest.raises(ConfigError, match=r"lies in --root .* outside of the archive"):
            make_plan(folder(root), out)
    assert [path.name for path in root.iterdir()] == ["a"]


def test_a_moved_archive_is_the_same_plan_and_gives_the_same_set(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", COUNTS)
    make_plan(folder(root), tmp_path / "here")
    build(tmp_path / "here", workers=0)
    make_plan(folder(root), tmp_path / "moved")
    moved = shutil.move(root, tmp_path / "elsewhere")
    make_plan(folder(moved), tmp_path / "moved")
    build(tmp_path / "moved", workers=0)
    a, b = digests(tmp_path / "here"), digests(tmp_path / "moved")
    assert a.pop("plan.parquet") != b.pop("plan.parquet")
    assert a == b


@pytest.mark.parametrize(
    ("first", "second"), [("a.1.jpg", "a_1.jpg"), ("Place.jpg", "place.jpg"), ("x.jpg", "x.png")]
)
def test_colliding_keys_name_both_files(tmp_path: Path, first: str, second: str) -> None:
    root = write_folder(tmp_path / "in", {"c": 1})
    for name in (first, second):
        shutil.copy(root / "c" / "c_0.jpg", root / "c" / name)
    with pytest.raises(ConfigError) as error:
        make_plan(folder(root), tmp_path / "out")
    assert f"c/{first}" in str(error.value) and f"c/{second}" in str(error.value)
    assert not (tmp_path / "out").exists()


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
def test_any_id_has_a_legal_key_of_bounded_length(text: str) -> None:
    key = key_of(text)
    check_key(key)
    assert len(key) <= 80


def test_names_in_other_scripts_do_not_collide() -> None:
    assert key_of("机场/机场_1.jpg") != key_of("港口/港口_1.jpg")
    assert key_of("train/airport.v2/a.b.jpg") == "train_airport_v2_a_b"


def test_a_file_that_is_no_plan_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "plan.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(ShardError, match="is not a plan of this program"):
        Plan.open(tmp_path)
