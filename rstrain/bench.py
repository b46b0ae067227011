"""`rstrain bench`: what reading gives alone, what the model takes alone, and both together, in rounds that take turns."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rstrain import distributed
from rstrain.bench_config import BenchConfig
from rstrain.data.batch import HostBatch
from rstrain.engine import spread
from rstrain.engine.clock import Clock
from rstrain.engine.train import Run
from rstrain.methods.base import Batch

_PEAK_TFLOPS = {
    "B200": (2250.0, 80.0),
    "H200": (989.4, 66.9),
    "H100 PCIe": (756.0, 51.2),
    "H100": (989.4, 66.9),
    "A100": (311.9, 19.5),
    "A10G": (70.0, 35.0),
    "L40S": (362.0, 91.6),
    "L4": (121.0, 30.3),
}
"""Dense bf16 (tensor cores) and fp32, from the makers' data sheets, by a part of the name; the first that fits."""


@dataclass(frozen=True)
class BenchReport:
    """Medians over rounds; samples are those of the whole step, over all ranks."""

    method: str
    arch: str
    device: str
    ranks: int
    batch: int
    size: int
    workers: int | None
    precision: str
    steps: int
    """Timed in each part of each round."""
    loader: float
    """Samples a second of reading alone."""
    model: float
    """Of the step alone, on normal noise that lies on the device."""
    joint: float
    joint_over_model: float
    data_wait: float
    """Share of the joint run that waits for data."""
    rounds: dict[str, list[float]]
    gflop_per_sample: float
    """Of forward and backward, all views, as torch counts them (a multiply-add is two)."""
    tflop_per_s: float
    """In the joint run, a rank."""
    mfu: float | None
    """Of the peak of the device at this precision; None where that is not known."""
    peak_memory_mb: float
    """Of the device; on a CPU the process's resident memory."""

    def summary(self) -> str:
        """For people."""
        bound = "reading" if self.loader < self.model else "the model"
        mfu = "" if self.mfu is None else f", MFU {self.mfu:.1%}"
        return (
            f"{self.method} {self.arch}, batch {self.batch}, {self.size} px, {self.precision}, {self.device}\n"
            f"loader  {self.loader:>10,.1f} samples/s\n"
            f"model   {self.model:>10,.1f} samples/s\n"
            f"joint   {self.joint:>10,.1f} samples/s, {self.joint_over_model:.2f} of the model alone, "
            f"{self.data_wait:.1%} waiting for data\n"
            f"{self.gflop_per_sample:,.2f} GFLOP a sample, {self.tflop_per_s:,.2f} TFLOP/s{mfu}, "
            f"peak memory {self.peak_memory_mb:,.0f} MB\n"
            f"{bound} is the bottleneck"
        )

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def bench(config: BenchConfig) -> BenchReport:
    """Measure; nothing is kept.

    Raises:
        UserError: as `pretrain`.
    """
    train = config.train()
    if train.threads:
        torch.set_num_threads(train.threads)
    with distributed.session(train.device) as world, tempfile.TemporaryDirectory() as folder:
        return _Bench(config, Run(train, Path(folder), world)).go()


class _Bench:
    def __init__(self, config: BenchConfig, run: Run) -> None:
        self.config, self.run = config, run
        self.device = run.world.device
        self.warm_up = 3
        """Steps before the clock starts; reading drains at least what was read ahead."""

    def go(self) -> BenchReport:
        config, run = self.config, self.run
        batches = run.batches(0, 1)
        host = next(iter(batches))
        flop = self._flop(host)
        if run.config.compile:
            run.method.compile()
        model = spread.joined(run.method, run.world)
        fixed = [_noise(part) for part in run.parts(host)]
        self._learn(model, host, fixed)  # compiles, finds its kernels, makes the optimiser's state
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        rounds: dict[str, list[float]] = {"loader": [], "model": [], "joint": [], "data_wait": []}
        for _ in range(config.rounds):
            rounds["loader"].append(self._rate(self._read())[0])
            rounds["model"].append(self._rate(lambda: self._learn(model, host, fixed))[0])
            rate, wait = self._rate(self._both(model))
            rounds["joint"].append(rate)
            rounds["data_wait"].append(wait)
        medians = {name: statistics.median(values) for name, values in rounds.items()}
        train = run.config
        per_s = flop * medians["joint"] / run.world.world
        name, peak = self._peak()
        return BenchReport(
            method=config.method,
            arch=train.arch,
            device=name,
            ranks=run.world.world,
            batch=train.batch,
            size=train.augment.size,
            workers=train.workers,
            precision=train.precision,
            steps=config.steps,
            loader=round(medians["loader"], 1),
            model=round(medians["model"], 1),
            joint=round(medians["joint"], 1),
            joint_over_model=round(medians["joint"] / medians["model"], 3),
            data_wait=round(medians["data_wait"], 4),
            rounds={name: [round(value, 4) for value in values] for name, values in rounds.items()},
            gflop_per_sample=round(flop / 1e9, 3),
            tflop_per_s=round(per_s / 1e12, 3),
            mfu=None if peak is None else round(per_s / (peak * 1e12), 4),
            peak_memory_mb=round(self._memory() / 2**20, 1),
        )

    def _rate(self, step: Callable[[], float | None]) -> tuple[float, float]:
        """Samples a second, and the share of the time that the steps say they have waited."""
        ahead = 0 if self.run.config.workers == 0 else 2 * (self.run.config.workers or 8)
        for _ in range(max(self.warm_up, ahead if self.config.steps > ahead else 0)):
            step()
        self._settle()
        waited, start = 0.0, time.perf_counter()
        for _ in range(self.config.steps):
            waited += step() or 0.0
        self._settle()
        seconds = time.perf_counter() - start
        return self.config.steps * self.run.config.batch / seconds, waited / seconds

    def _read(self) -> Callable[[], None]:
        batches = self.run.batches(0, 1 << 40)
        return lambda: (next(batches), None)[1]

    def _learn(self, model: nn.Module, host: HostBatch, parts: list[Batch]) -> None:
        self.run.step = 0  # the rate of the first step, whatever the schedule
        self.run.learn(model, parts, host, Clock(1e9))

    def _both(self, model: nn.Module) -> Callable[[], float]:
        batches = self.run.batches(0, 1 << 40)

        def step() -> float:
            asked = time.perf_counter()
            host = next(batches)
            waited = time.perf_counter() - asked
            self._learn(model, host, self.run.parts(host))
            return waited

        return step

    def _flop(self, host: HostBatch) -> float:
        """Of a sample."""
        counter = FlopCounterMode(display=False)
        with counter:
            self._learn(self.run.method, host, self.run.parts(host))
        return float(counter.get_total_flops()) / len(host.rows)

    def _settle(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        distributed.barrier()

    def _peak(self) -> tuple[str, float | None]:
        """Name of the device and its TFLOP/s at the precision of the run."""
        if self.device.type != "cuda":
            return "cpu", self.config.peak_tflops
        name = torch.cuda.get_device_name(self.device)
        known = next((peaks for part, peaks in _PEAK_TFLOPS.items() if part in name), (None, None))
        bf16 = self.run.config.precision == "bf16"
        return name, self.config.peak_tflops or known[0 if bf16 else 1]

    def _memory(self) -> float:
        if self.device.type == "cuda":
            return float(torch.cuda.max_memory_allocated(self.device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _noise(batch: Batch) -> Batch:
    batch.views = tuple(torch.randn_like(view) for view in batch.views)
    if batch.second is not None:
        batch.second = _noise(batch.second)
    return batch
