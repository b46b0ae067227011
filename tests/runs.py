"""Trainings as processes: started, killed for real, compared to the last bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.numpy import load_file

from rstrain.config import TrainConfig
from rstrain.engine.log import read_metrics


def start(config: TrainConfig, out: Path) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    file = out.with_suffix(".toml")
    file.write_text(config.to_toml())
    command = [sys.executable, "-m", "rstrain", "pretrain", config.method.kind, "--config", str(file)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [*command, "--out", str(out)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env
    )


def kill_at(process: subprocess.Popen[str], out: Path, step: int, number: signal.Signals) -> int:
    last = out / "checkpoints" / "last.json"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if last.exists() and json.loads(last.read_text())["step"] >= step:
            break
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def same_end(a: Path, b: Path) -> None:
    """Every number of the log and every weight, bit for bit."""
    first, second = (
        [
            {
                k: v
                for k, v in r.items()
                if k not in ("samples_per_s", "data_wait", "rss_mb", "workers_rss_mb")
            }
            for r in read_metrics(run)
        ]
        for run in (a, b)
    )
    assert first == second and first
    x, y = (load_file(run / "backbone.safetensors") for run in (a, b))
    assert x.keys() == y.keys()
    assert all((x[key] == y[key]).all() for key in x)
