"""Build, train, evaluate; kill each of them at random moments, run it again, and compare with an undisturbed path.

Usage: python tests/chaos/whole_path.py [--kills 12] [--minutes 15] [--seed 0] [--folder DIR], or --quick for three kills in
about a minute. SIGKILL and SIGTERM by turns, to the program alone. Compared are every file of the set, every logged number
and every weight, and the scores. Prints a verdict; exit code 1 if anything differs or the minutes are over.
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

sys.path.insert(0, str(Path(__file__).parents[1] / "rsdata"))
sys.path.insert(0, str(Path(__file__).parent))

from image_trees import digests, folder, write_folder
from kill_training import differences

from rsdata.plan import make_plan

MOCO = "--arch timm:test_resnet --size 32 --batch 16 --queue 64 --bn-splits 2 --log-every 3 --device cpu --threads 1"


def stages(base: Path, name: str, epochs: float) -> dict[str, list[str]]:
    """The commands of a path, in their order."""
    out, run = str(base / name), str(base / f"{name}-run")
    train = ["pretrain", "moco", "--data", out, "--out", run, "--epochs", str(epochs)]
    score = ["eval", "knn", "--checkpoint", run, "--data", out, "--out", f"{run}/knn.json", "--device", "cpu"]
    return {
        "build": ["rsdata", "build", out, "--workers", "2"],
        "train": ["rstrain", *train, "--save-minutes", "0.005", "--workers", "1", *MOCO.split()],
        "evaluate": ["rstrain", *score, "--workers", "0"],
    }


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def scores(base: Path, name: str) -> Any:
    """What an evaluation found, without when and where."""
    found = json.loads((base / f"{name}-run" / "knn.json").read_text())
    return found["outcome"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--quick", action="store_true", help="three kills, a small set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    kills, images, epochs = (3, 30, 1.0) if given.quick else (given.kills, 300, 6.4)
    begun, dice = time.monotonic(), random.Random(given.seed)
    base = Path(tempfile.mkdtemp(dir=given.folder))
    write_folder(base / "in", {"a": images, "b": images}, side=128)

    def plan(name: str) -> None:
        make_plan(folder(base / "in", samples_per_shard=images // 10, test_fraction=0.25), base / name)

    def undo(stage: str) -> None:
        """Take away what a stage made that was quicker than its kills."""
        if stage == "build":
            shutil.rmtree(base / "harried")
            plan("harried")
        elif stage == "train":
            shutil.rmtree(base / "harried-run")
        else:
            (base / "harried-run" / "knn.json").unlink()

    plan("calm")
    plan("harried")

    took = {}
    for stage, words in stages(base, "calm", epochs).items():
        at = time.monotonic()
        process = start(words)
        _, said = process.communicate()
        took[stage] = time.monotonic() - at
        if process.returncode:
            print(f"FAILED: the calm {stage} ended with {process.returncode}: {said}")
            return 1

    hit: dict[str, int] = dict.fromkeys(took, 0)
    for n, (stage, words) in enumerate(stages(base, "harried", epochs).items()):
        wanted = kills // 3 + (n < kills % 3)
        while True:
            if time.monotonic() - begun > 60 * given.minutes:
                print(f"FAILED: {given.minutes:g} minutes are over while {stage} was at work: {base}")
                return 1
            process, at = start(words), time.monotonic()
            try:
                moment = dice.uniform(0.3, 0.9) * took[stage] if hit[stage] < wanted else None
                _, said = process.communicate(timeout=moment)
                if process.returncode:
                    print(f"FAILED: {stage} ended with {process.returncode} after {hit[stage]} kills: {said}")
                    return 1
                if hit[stage] >= wanted:
                    break
                took[stage] = min(took[stage], time.monotonic() - at)
                undo(stage)
            except subprocess.TimeoutExpired:
                process.send_signal((signal.SIGKILL, signal.SIGTERM)[hit[stage] % 2])
                process.communicate()
                hit[stage] += 1
                print(f"{stage}: kill {hit[stage]} after {moment:.1f} s", file=sys.stderr, flush=True)
    wrong = [] if digests(base / "harried") == digests(base / "calm") else ["the set"]
    wrong += differences(base / "harried-run", base / "calm-run")
    wrong += [] if scores(base, "harried") == scores(base, "calm") else ["the scores"]
    if wrong:
        print(f"FAILED: differs in {', '.join(wrong[:5])}: {base}")
        return 1
    print(
        f"ok: {', '.join(f'{count} kills of {stage}' for stage, count in hit.items())} in "
        f"{time.monotonic() - begun:,.0f} s; set, log, weights and scores are those of a calm path"
    )
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
