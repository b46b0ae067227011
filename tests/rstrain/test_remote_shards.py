"""Shards behind a URL: fetched ahead into a bounded cache, shared by processes, checked, and nothing changes in a batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from builders import build_set, damage, pattern
from rstrain.data.config import AugmentConfig, DataConfig
from rstrain.data.loader import loader
from shard_host import hosted
from shards.cache import ShardCache
from shards.errors import ConfigError, ShardError
from shards.index import Index

CONFIG = DataConfig(block=4, window=2)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[str, Index, list[str]]]:
    """URL of a set of six shards, the set itself, and what is asked for."""
    local = build_set(tmp_path / "set", [pattern(i) for i in range(48)], samples_per_shard=8)
    with hosted(tmp_path / "set") as (url, asked):
        yield url, local, asked


def held(folder: Path) -> int:
    """Bytes of its files; one that another process evicts meanwhile has none."""
    total = 0
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bounded_cache_gives_the_same_batches(
    remote: tuple[str, Index, list[str]], tmp_path: Path, workers: int
) -> None:
    url, local, asked = remote
    one = max(shard.bytes for shard in local.info.shards)
    cache = ShardCache(tmp_path / "cache", 4 * one + 100)
    index = Index.open(url, cache=cache)
    options = {"batch": 4, "seed": 1, "stop": 24, "workers": workers}
    augment = AugmentConfig(size=24, where="worker")
    pairs = zip(
        loader(CONFIG, augment, index, **options),  # type: ignore[arg-type]
        loader(CONFIG, augment, local, **{**options, "workers": 0}),  # type: ignore[arg-type]
        strict=True,
    )
    for ours, theirs in pairs:
        assert torch.equal(ours.pixels, theirs.pixels)
        assert held(cache.folder) <= cache.limit
    assert set(asked) == {shard.name for shard in local.info.shards}


def test_a_cache_that_holds_the_set_asks_once(remote: tuple[str, Index, list[str]], tmp_path: Path) -> None:
    url, local, asked = remote
    cache = ShardCache(tmp_path / "cache", 1 << 30)
    for _ in range(2):
        index = Index.open(url, cache=cache)
        for _ in loader(CONFIG, AugmentConfig(size=24), index, batch=4, seed=0, start=2, stop=30, workers=2):
            pass
    assert sorted(asked) == sorted(2 * [shard.name for shard in local.info.shards]), "once, and once in vain"
    assert {p.name for p in cache.folder.glob("*.tar")} == {f"{s.sha256}.tar" for s in local.info.shards}


def test_a_server_that_fails_once_is_asked_again_without_a_cache_too(
    remote: tuple[str, Index, list[str]],
) -> None:
    url, local, asked = remote
    index = Index.open(url)
    assert [index.read(row) for row in range(0, 48, 8)] == [local.read(row) for row in range(0, 48, 8)]
    assert sorted(asked) == sorted(2 * [shard.name for shard in local.info.shards])
    with pytest.raises(ShardError, match=r"/none\.json: there is no such file"):
        index.store.read("none.json")


def test_what_is_refused(remote: tuple[str, Index, list[str]], tmp_path: Path) -> None:
    url, local, _ = remote
    small = Index.open(url, cache=ShardCache(tmp_path / "small", 1000))
    with pytest.raises(ConfigError, match=r"--cache-gb 1e-06: .* use --cache-gb 0\.\d+ or more"):
        loader(CONFIG, AugmentConfig(size=24), small, batch=4, seed=0, stop=1, workers=0)
    cache = ShardCache(tmp_path / "cache", 1 << 30)
    index = Index.open(url, cache=cache)
    damage(tmp_path / "set", local.info.shards[0].name, 700)
    with pytest.raises(ShardError, match=r"set-000000\.tar: has the sha256 \w+…, dataset\.json says"):
        index.read(0)
    assert not list(cache.folder.glob("*.tar")), "what is wrong is not kept"
