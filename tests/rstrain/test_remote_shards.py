"""Shards behind a URL: fetched ahead into a bounded cache, shared by processes, checked, and nothing changes in a batch."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from builders import build_set, damage, pattern
from rstrain.data.config import AugmentConfig, DataConfig
from rstrain.data.loader import loader
from shards.cache import ShardCache
from shards.errors import ConfigError, ShardError
from shards.index import Index

CONFIG = DataConfig(block=4, window=2)


class Host(SimpleHTTPRequestHandler):
    """Files with ranges; each shard fails the first time."""

    asked: list[str]

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        path = Path(self.directory) / name
        if not path.exists():
            return self.send_error(404)
        data = path.read_bytes()
        if name.endswith(".tar"):
            self.asked.append(name)
            if self.asked.count(name) == 1:
                return self.send_error(503)
        asked = self.headers.get("Range")
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            data = data[start:stop]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[tuple[str, Index, list[str]]]:
    """URL of a set of six shards, the set itself, and what is asked for."""
    local = build_set(tmp_path / "set", [pattern(i) for i in range(48)], samples_per_shard=8)
    asked: list[str] = []
    handler = type("Handler", (Host,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "set")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", local, asked
    server.shutdown()


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
