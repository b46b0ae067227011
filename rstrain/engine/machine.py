"""Where a run took place: environment.json and the checks before the first step."""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rstrain.distributed import World
from shards.machine import cores
from shards.store import Store

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "opencv-python-headless", "simplejpeg", "pyarrow")


def environment(world: World) -> dict[str, Any]:
    """Facts that explain a number later; no variable of the environment is written, they may hold secrets."""
    gpu = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else None
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "ranks": world.world,
        "packages": {name: version(name) for name in _PACKAGES},
    }


def write_environment(run: Path, world: World) -> None:
    """environment.json of a run folder, that of the latest start."""
    Store(run).write("environment.json", (json.dumps(environment(world), indent=1) + "\n").encode())


def memory_mb() -> dict[str, float]:
    """Resident memory of this process and, added up, of its reading ones (what they share counts for each), MB."""
    workers = [child.pid for child in multiprocessing.active_children() if child.pid]
    return {"rss_mb": _resident_mb(os.getpid()), "workers_rss_mb": round(sum(map(_resident_mb, workers)), 1)}


def _resident_mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
