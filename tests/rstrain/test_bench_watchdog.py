"""`rstrain bench` as a command, memory of batches used again, and the stacks of readers that hang."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from builders import build_set, pattern
from rstrain.cli import app
from rstrain.data.batch import empty_pixels
from rstrain.data.workers import read_ahead
from shards.index import Index


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    images = [pattern(i, 40, 40) for i in range(40)]
    return build_set(tmp_path_factory.mktemp("bench") / "set", images, ending="jpg")


def test_bench_is_one_object(data: Index) -> None:
    options = {"arch": "timm:test_resnet", "size": 32, "batch": 8, "steps": 3, "rounds": 2, "workers": 1}
    options |= {"device": "cpu", "threads": 1, "peak-tflops": 0.5}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    done = CliRunner().invoke(app, ["bench", "--data", str(data.store), *flags, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {name: len(values) for name, values in found["rounds"].items()} == {
        "loader": 2,
        "model": 2,
        "joint": 2,
        "data_wait": 2,
    }
    assert min(found["loader"], found["model"], found["joint"], found["peak_memory_mb"]) > 0
    assert 0 <= found["data_wait"] < 1
    expected = found["joint"] * found["gflop_per_sample"] / 500
    assert found["mfu"] == pytest.approx(expected, rel=0.05, abs=1e-4)


class Pages:
    """Batch `number` is full of its number; each differs in size."""

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        pixels = empty_pixels(1000 + number % 7 * 3000, dtype=np.dtype(np.float32))
        pixels.fill_(number)
        return {"pixels": pixels[1:], "plain": torch.full((3,), number)}


def test_memory_is_used_again_and_never_under_a_batch_that_is_held() -> None:
    held, seen = {}, set()
    for number, batch in enumerate(read_ahead(Pages(), 0, 200, workers=2)):
        assert (batch["pixels"] == number).all() and (batch["plain"] == number).all()
        assert len(batch["pixels"]) == 999 + number % 7 * 3000
        seen.add(batch["pixels"].data_ptr())
        if number % 9 == 0:
            held[number] = batch["pixels"]  # more than a worker has pieces
    assert len(held) > 20
    for number, pixels in held.items():
        assert (pixels == number).all(), "it was written over"
    assert len(seen) < 100, "memory was not used again"


HANGS = """
import sys, time
from rstrain.data.workers import read_ahead
class Hangs:
    def __getitem__(self, number):
        if number == 1:
            self.stuck_here()
        return number
    def stuck_here(self):
        time.sleep(1.5)
print(*read_ahead(Hangs(), 0, 3, workers=1, stall_s=0.5))
"""


def test_a_reader_that_hangs_shows_its_stack_and_the_run_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 1 2\n" and done.returncode == 0
    assert "no batch for" in done.stderr and "of 1 reading processes" in done.stderr
    assert "in stuck_here" in done.stderr
