"""Kill a build at random moments, run it again, and compare the final bytes with those of an undisturbed build.

Usage: python tests/chaos/kill_build.py 50 [--seed 0] [--folder DIR]. Prints a verdict; exit code 1 if bytes differ.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rsdata"))

from image_trees import digests, folder, write_folder

from rsdata.plan import make_plan


def start(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rsdata", "build", str(out), "--workers", "2"]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(dir=options.folder))
    root = write_folder(base / "in", {"a": 150, "b": 150}, side=256)
    (root / "b" / "broken.jpg").write_bytes(b"nothing")

    def planned(name: str) -> Path:
        make_plan(folder(root, samples_per_shard=12, test_fraction=0.2), base / name)
        return base / name

    begun = time.monotonic()
    calm = start(planned("calm"))
    assert calm.wait() == 3, calm.stderr and calm.stderr.read()
    length = time.monotonic() - begun
    expected = digests(base / "calm")

    dice = random.Random(options.seed)
    kills = rounds = midway = 0
    while kills < options.kills:
        out = planned(f"round{rounds}")
        while True:
            process = start(out)
            try:
                process.wait(timeout=dice.uniform(0.25, 0.9) * length if kills < options.kills else None)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
                midway += any(out.glob("*.tar")) and not (out / "dataset.json").exists()
                continue
            break
        if process.returncode != 3 or digests(out) != expected:
            print(f"FAILED: after {kills} kills round {rounds} ended with {process.returncode}: {out}")
            print(process.stderr.read().decode() if process.stderr else "")
            return 1
        left = [path.name for path in out.rglob("*.part")]
        if left:
            print(f"FAILED: parts were left behind: {left}")
            return 1
        rounds += 1
        shutil.rmtree(out)
    print(
        f"ok: {kills} kills ({midway} with some shards done) in {rounds} builds; the bytes are those of a calm build"
    )
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
