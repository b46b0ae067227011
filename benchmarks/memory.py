"""Resident memory of trainer and reading processes over a long run of a tiny model, which ought to be flat.

    python benchmarks/memory.py [--steps 50000] [--workers 2]

Prints one JSON object: the median of each tenth of the run, and the last over the second (the first fills caches).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import build_set, pattern
from rstrain.config import config_for
from rstrain.engine.log import read_metrics
from rstrain.engine.train import pretrain


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--steps", type=int, default=50_000)
    options.add_argument("--workers", type=int, default=2)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_set(Path(folder) / "set", [pattern(i, 32, 32) for i in range(64)], ending="jpg")
        config = config_for("moco").build(
            data=f"{folder}/set",
            arch="timm:test_resnet",
            batch=4,
            epochs=given.steps * 4 / 64,
            log_every=max(1, given.steps // 500),
            device="cpu",
            workers=given.workers,
            threads=1,
            method={"queue": 64, "bn_splits": 1},
            augment={"size": 16},
        )
        pretrain(config, Path(folder) / "run")
        records = read_metrics(Path(folder) / "run")
    result: dict[str, Any] = {"steps": given.steps, "workers": given.workers}
    for name in ("rss_mb", "workers_rss_mb"):
        values = [record[name] for record in records]
        tenth = max(1, len(values) // 10)
        medians = [statistics.median(values[at : at + tenth]) for at in range(0, tenth * 10, tenth)]
        result[name] = [round(value, 1) for value in medians]
        result[f"{name}_last_over_second"] = round(medians[-1] / medians[1], 4)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
