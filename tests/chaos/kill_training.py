"""Kill a training at random moments, run it again, and compare every logged number and weight with an undisturbed run.

Usage: python tests/chaos/kill_training.py 10 [--seed 0] [--folder DIR]. SIGKILL and SIGTERM by turns, another number of
workers at each start, over several epochs. Prints a verdict; exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from safetensors.numpy import load_file

from builders import Place, build_set, pattern

OPTIONS = "--batch 16 --queue 64 --bn-splits 2 --size 32 --log-every 3 --knn-every 1 --device cpu --threads 1"


def start(base: Path, out: Path, arch: str, epochs: float, workers: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rstrain", "pretrain", "moco-geo-tp", "--data", str(base / "set")]
    command += ["--clusters", str(base / "clusters.json"), "--out", str(out), "--arch", arch]
    command += [
        "--epochs",
        str(epochs),
        "--workers",
        str(workers),
        "--save-minutes",
        "0.005",
        *OPTIONS.split(),
    ]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def write_data(base: Path) -> None:
    places = [
        Place(
            [pattern(10 * i + v, 40, 40) for v in range(1 + i % 4)],
            label=i % 3,
            split="train" if i % 4 else "val",
            lon=i * 7 % 360 - 180.0,
            lat=i * 3 % 160 - 80.0,
        )
        for i in range(60)
    ]
    build_set(base / "set", places, ending="jpg", samples_per_shard=20)
    centroids = [[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0], [0, -1.0, 0]]
    (base / "clusters.json").write_text(
        json.dumps({"space": "sphere", "clusters": [{"vector": v} for v in centroids]})
    )


def records(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [
        {
            k: v
            for k, v in json.loads(x).items()
            if k not in ("samples_per_s", "data_wait", "rss_mb", "workers_rss_mb")
        }
        for x in lines
    ]


def step_of(run: Path) -> int:
    last = run / "checkpoints" / "last.json"
    return int(json.loads(last.read_text())["step"]) if last.exists() else 0


def differences(run: Path, calm: Path) -> list[str]:
    found = []
    if records(run) != records(calm):
        found.append("metrics.jsonl")
    a, b = (load_file(folder / "backbone.safetensors") for folder in (run, calm))
    found += [
        key for key in sorted(a.keys() | b.keys()) if key not in a or key not in b or (a[key] != b[key]).any()
    ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--arch", default="timm:test_resnet")
    parser.add_argument("--epochs", type=float, default=20.4)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(dir=options.folder))
    write_data(base)
    dice = random.Random(options.seed)

    def run(out: Path, workers: int, until: float | None = None) -> int | None:
        """Return code, or None when it was still running after `until` seconds of training."""
        process = start(base, out, options.arch, options.epochs, workers)
        before = log_time(out)
        while until is not None and process.poll() is None and log_time(out) == before:
            time.sleep(0.01)  # what is before the first step of this start is not worth a kill
        try:
            process.wait(timeout=until)
        except subprocess.TimeoutExpired:
            number = (signal.SIGKILL, signal.SIGTERM)[kills % 2]
            process.send_signal(number)
            process.wait()
            return None
        if process.returncode:
            print(process.stderr.read().decode() if process.stderr else "")
        return process.returncode

    calm = base / "calm"
    kills = rounds = midway = 0
    begun = time.monotonic()
    assert run(calm, 0) == 0
    length = time.monotonic() - begun
    began_logging = time.monotonic()
    assert run(base / "again", 2) == 0 and not differences(base / "again", calm), (
        "not even two calm runs agree"
    )
    length = min(length, time.monotonic() - began_logging)
    starts = 0
    while kills < options.kills:
        out = base / f"round{rounds}"
        while True:
            starts += 1
            wanted = dice.uniform(0.0, 0.4) * length if kills < options.kills else None
            code = run(out, starts % 3, wanted)
            if code is None:
                kills += 1
                midway += step_of(out) > 0
                continue
            break
        if code != 0 or (wrong := differences(out, calm)):
            print(
                f"FAILED: after {kills} kills round {rounds} ended with {code}; differs in {wrong[:5]}: {out}"
            )
            return 1
        rounds += 1
        print(f"round {rounds}: {kills} kills so far, no difference", file=sys.stderr, flush=True)
        shutil.rmtree(out)
    print(
        f"ok: {kills} kills ({midway} with a checkpoint made) in {rounds} trainings of {records(calm)[-1]['step']} steps, "
        f"{starts} starts with 0, 1 and 2 workers; log and weights are those of a calm run, bit for bit"
    )
    shutil.rmtree(base)
    return 0


def log_time(run: Path) -> float:
    log = run / "metrics.jsonl"
    return log.stat().st_mtime if log.exists() else 0.0


if __name__ == "__main__":
    sys.exit(main())
