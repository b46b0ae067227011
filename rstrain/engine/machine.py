"""Where a run took place: environment.json and the checks before the first step."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rstrain.distributed import World
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
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "ranks": world.world,
        "packages": {name: version(name) for name in _PACKAGES},
    }


def write_environment(run: Path, world: World) -> None:
    """environment.json of a run folder, that of the latest start."""
    Store(run).write("environment.json", (json.dumps(environment(world), indent=1) + "\n").encode())


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor()
