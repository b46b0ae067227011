"""Order and content of batches are a function of (configs, seed, step) alone, and errors arrive as plain messages."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from builders import Place, build_set, damage, pattern
from rstrain.data.batch import HostBatch, mean_std, normalise
from rstrain.data.config import AugmentConfig, DataConfig
from rstrain.data.evaluation import eval_loader
from rstrain.data.loader import loader
from rstrain.data.workers import LoaderError, read_ahead
from shards.codec import ImageError
from shards.errors import ConfigError, ShardError
from shards.index import Index

AUGMENT = AugmentConfig(size=24, where="worker")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """21 places with one to four views, 51 rows over three shards."""
    sizes = [1 + i % 4 for i in range(21)]
    made = [
        Place([pattern(100 * i + v, 40 + i, 50) for v in range(n)], label=i % 3) for i, n in enumerate(sizes)
    ]
    return build_set(tmp_path_factory.mktemp("places"), made, samples_per_shard=8)


def read(index: Index, start: int, stop: int, **options: object) -> list[HostBatch]:
    options = {"batch": 8, "seed": 3, "workers": 0, **options}
    config = DataConfig(pairs="temporal", block=4, window=3)
    return list(loader(config, AUGMENT, index, start=start, stop=stop, **options))  # type: ignore[arg-type]


def assert_equal(a: HostBatch, b: HostBatch) -> None:
    assert a.step == b.step
    for name in ("pixels", "rows", "partners", "epoch"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_a_late_start_change_no_bit(places: Index, workers: int) -> None:
    whole = read(places, 0, 16)  # 128 positions of 51 rows: two epoch borders, each inside a batch
    assert any(len(b.epoch.unique()) == 2 for b in whole)
    tail = read(places, 5, 16, workers=workers)
    assert len(tail) == 11
    for a, b in zip(whole[5:], tail, strict=True):
        assert_equal(a, b)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_end_to_end_are_the_batch_of_one(places: Index, world: int) -> None:
    ranks = [read(places, 4, 9, rank=r, world=world) for r in range(world)]
    for one, *parts in zip(read(places, 4, 9), *ranks, strict=True):
        assert torch.equal(one.rows, torch.cat([p.rows for p in parts]))
        assert torch.equal(one.pixels, torch.cat([p.pixels for p in parts], dim=1))


def test_every_row_is_the_query_once_an_epoch(places: Index) -> None:
    rows = torch.cat([b.rows for b in read(places, 0, 51, batch=3)]).numpy()
    epochs = torch.cat([b.epoch for b in read(places, 0, 51, batch=3)]).numpy()
    for epoch in range(3):
        assert sorted(rows[epochs == epoch]) == list(range(51))


def test_another_seed_is_another_run(places: Index) -> None:
    a, b = read(places, 0, 1)[0], read(places, 0, 1, seed=4)[0]
    assert not torch.equal(a.rows, b.rows)


def test_pixels_are_channels_last_bytes(places: Index) -> None:
    batch = read(places, 0, 1)[0]
    assert batch.pixels.shape == (2, 8, 3, 24, 24)
    assert batch.pixels.dtype == torch.uint8
    assert batch.pixels[0].is_contiguous(memory_format=torch.channels_last)
    views = batch.views(*mean_std(places.info))
    assert views[1].dtype == torch.float32
    expected = (batch.pixels[1].double() / 255 - 0.456) / 0.224
    assert torch.allclose(views[1][:, 1].double(), expected[:, 1], atol=1e-5)


@pytest.mark.parametrize("last", [True, False])
def test_normalise_in_either_layout(last: bool) -> None:
    pixels = torch.randint(0, 256, (2, 5, 7, 7), dtype=torch.uint8)
    if last:
        pixels = pixels.to(memory_format=torch.channels_last)
    mean, std = torch.arange(5.0), torch.arange(1.0, 6.0)
    expected = (pixels.double() - mean[:, None, None]) / std[:, None, None]
    got = normalise(pixels, mean.tolist(), std.tolist())
    assert torch.allclose(got.double(), expected, atol=1e-5) and got.stride() == pixels.stride()


def test_colour_left_to_the_device_is_the_workers_colour(places: Index) -> None:
    config = DataConfig()
    here, there = (
        next(
            loader(
                config, AUGMENT.model_copy(update={"where": w}), places, batch=8, seed=1, stop=1, workers=1
            )
        )
        for w in ("worker", "device")
    )
    assert here.color is None and there.color is not None
    mean, std = (0.0,) * 3, (1.0,) * 3
    gap = torch.stack(here.views(mean, std)) - torch.stack(there.views(mean, std))
    assert gap.abs().max() <= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_sample_is_one_plain_sentence(tmp_path: Path, workers: int) -> None:
    index = build_set(tmp_path, [pattern(i) for i in range(12)])
    damage(tmp_path, "set-000000.tar", int(index.column("offset")[7]) + 40)
    with pytest.raises(
        ShardError, match=r"set-000000.tar: sample place-00007 at byte \d+ is damaged"
    ) as caught:
        list(loader(DataConfig(), AUGMENT, index, batch=4, seed=0, stop=3, workers=workers))
    assert "Traceback" not in str(caught.value)


def test_pixels_that_are_not_what_the_set_declares(tmp_path: Path) -> None:
    index = build_set(tmp_path / "a", [pattern(0), pattern(1), pattern(2, bands=1)])  # grey is repeated
    lying = build_set(tmp_path / "b", [np.zeros((9, 9, 5), np.uint16)], ending="npy")
    assert next(loader(DataConfig(), AUGMENT, index, batch=3, seed=0, stop=1, workers=0)).pixels.shape[2] == 3
    with pytest.raises(ImageError, match="place-00000, member npy: uint16 pixels"):
        next(loader(DataConfig(), AUGMENT, lying, batch=1, seed=0, stop=1, workers=0))


def test_a_batch_that_does_not_divide_fails_before_any_worker(places: Index) -> None:
    with pytest.raises(ConfigError, match="batch=9 does not divide by 2 ranks"):
        loader(DataConfig(), AUGMENT, places, batch=9, seed=0, stop=1, world=2)


def test_other_bands(tmp_path: Path) -> None:
    index = build_set(tmp_path, [pattern(i, bands=6) for i in range(4)], ending="npy")
    batch = next(loader(DataConfig(), AUGMENT, index, batch=4, seed=0, stop=1, workers=0))
    assert batch.pixels.shape == (2, 4, 6, 24, 24)
    assert len(mean_std(index.info)[0]) == 6
    with pytest.raises(ConfigError, match="statistics=imagenet is for RGB"):
        mean_std(index.info, "imagenet")


SCRIPT = """
import sys, time
from rstrain.data.config import AugmentConfig, DataConfig
from rstrain.data.loader import loader
from rstrain.data.workers import LoaderError
from shards.index import Index
index = Index.open(sys.argv[1])
batches = loader(DataConfig(), AugmentConfig(size=24), index, batch=4, seed=0, stop=10**9, workers=2)
next(batches)
import torch.multiprocessing as mp
print(*(child.pid for child in mp.active_children()), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    build_set(tmp_path, [pattern(i) for i in range(4)])
    parent = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not any(map(alive, workers))


@pytest.mark.slow
def test_a_run_that_ends_with_batches_left_ends_at_once(tmp_path: Path) -> None:
    build_set(tmp_path, [pattern(i) for i in range(4)])
    script = SCRIPT.replace("time.sleep(600)", "raise SystemExit(7)")
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=60).returncode == 7


def test_a_killed_worker_is_one_plain_sentence(places: Index) -> None:
    batches = loader(DataConfig(), AUGMENT, places, batch=8, seed=0, stop=10**6, workers=2)
    next(batches)
    os.kill(max(child.pid or 0 for child in multiprocessing.active_children()), signal.SIGKILL)
    with pytest.raises(LoaderError, match=r"one of 2 reading processes was killed.*\n  Use fewer"):
        for _ in batches:
            pass


class Torn:
    """Arrives as a batch does whose worker died while it handed the memory over."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __reduce__(self) -> tuple[object, ...]:
        return _torn, (self._error,)


def _torn(error: type[Exception]) -> None:
    raise error


class Tearing:
    """Batches that arrive torn, or fail in the worker's own work."""

    def __init__(self, error: type[Exception], where: str) -> None:
        self._error, self._where = error, where

    def __getitem__(self, number: int) -> Torn:
        if self._where == "worker":
            raise self._error
        return Torn(self._error)


@pytest.mark.parametrize("error", [ConnectionResetError, EOFError, FileNotFoundError])
def test_a_worker_that_dies_while_it_hands_over_is_one_plain_sentence_too(error: type[Exception]) -> None:
    with pytest.raises(LoaderError, match=rf"one of 1 reading processes was killed.*{error.__name__}"):
        next(read_ahead(Tearing(error, "trainer"), 0, 2, workers=1))
    with pytest.raises(
        RuntimeError, match=rf"(?s)a reading process failed:.*in __getitem__.*{error.__name__}"
    ):
        next(read_ahead(Tearing(error, "worker"), 0, 2, workers=1))


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for is dead."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_evaluation_reads_each_row_once_whatever_the_batch(places: Index) -> None:
    rows = np.arange(len(places))[::-1][:30]

    def pixels(**options: object) -> torch.Tensor:
        options = {"size": 24, "batch": 30, "workers": 0, **options}
        parts = list(eval_loader(places, rows, **options))  # type: ignore[arg-type]
        assert np.array_equal(torch.cat([r for _, r in parts]).numpy(), rows)
        return torch.cat([p for p, _ in parts])

    for options in ({}, {"resize": "squash"}, {"random_crop": True, "seed": 1, "epoch": 2}):
        assert torch.equal(pixels(**options), pixels(batch=7, workers=2, **options))
    assert not torch.equal(pixels(random_crop=True, epoch=1), pixels(random_crop=True, epoch=2))


def test_evaluation_is_close_to_resize_and_center_crop(tmp_path: Path) -> None:
    from PIL import Image
    from torchvision.transforms import functional as F

    images = [pattern(i, 60 + 9 * i, 130 - 11 * i) for i in range(6)]
    index = build_set(tmp_path, images, ending="jpg")
    pixels, _ = next(eval_loader(index, range(6), size=32, batch=6, workers=0))
    for image, ours in zip(images, pixels, strict=True):
        theirs = np.asarray(F.center_crop(F.resize(Image.fromarray(image), 32), 32)).astype(float)
        assert (
            np.abs(ours.permute(1, 2, 0).numpy() - theirs).mean() < 5
        )  # averages of areas against a triangle
