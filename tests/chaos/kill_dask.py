"""Build on a scheduler and two workers as processes, kill workers and the scheduler, compare with a calm local build.

Usage: python tests/chaos/kill_dask.py 20 [--seed 0] [--folder DIR]. SIGKILL of a worker or of its nanny at random
moments, of the scheduler once in between. Prints a verdict; exit code 1 if bytes differ, or if anything was fetched twice
but what was under work at a kill.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rsdata"))

from dask_cluster import Cluster, made_again, slow_build
from image_trees import digests, folder, write_folder

from rsdata.build import build
from rsdata.plan import make_plan

_PAUSE_S = (0.05, 2.0)
"""From the first task that begins after a kill to the next one."""


def tasks_begun(out: Path) -> int:
    notes = Path(f"{out}.notes")
    return notes.read_text().count("begin") if notes.exists() else 0


def revive(cluster: Cluster) -> None:
    """Start another for each nanny that is gone: killed, or given up because its worker died before it was up."""
    for worker in [worker for worker in cluster.workers if worker.poll() is not None]:
        cluster.workers.remove(worker)
        cluster.start_worker()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(dir=given.folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])
    half = 20 * given.kills
    root = write_folder(base / "in", {"a": half, "b": half})
    for name in ("calm", "harried"):
        make_plan(folder(root, samples_per_shard=8), base / name)
    build(base / "calm")
    out, dice, begun = base / "harried", random.Random(given.seed), time.monotonic()
    kills = schedulers = nannies = lost = 0
    while True:
        with Cluster(base) as cluster:
            cluster.start_worker()
            cluster.start_worker()
            process = slow_build(out, cluster.address)
            while process.poll() is None:
                seen = tasks_begun(out)
                while process.poll() is None and kills < given.kills and tasks_begun(out) == seen:
                    revive(cluster)
                    time.sleep(0.05)
                revive(cluster)
                pause = dice.uniform(*_PAUSE_S) if kills < given.kills or not schedulers else None
                try:
                    process.wait(timeout=pause)
                    break
                except subprocess.TimeoutExpired:
                    pass
                if not schedulers and kills >= given.kills // 2:
                    cluster.scheduler.kill()
                    schedulers, lost = 1, lost + 2
                    process.wait(timeout=60)
                elif kills < given.kills and (workers := cluster.worker_processes()):
                    kills, lost = kills + 1, lost + 1
                    if dice.random() < 0.25:
                        dice.choice(cluster.workers).kill()
                        nannies += 1
                    else:
                        dice.choice(workers).kill()
            _, said = process.communicate()
        if process.returncode == 0:
            break
        if process.returncode != 1 or "the scheduler is lost" not in said or "Traceback" in said:
            print(f"FAILED: the build ended with {process.returncode}: {said}")
            return 1
    again = made_again(out)
    if digests(out) != digests(base / "calm") or again > lost:
        print(f"FAILED: {again} tasks begun again after {lost} were under work at kills; compare {base}")
        return 1
    print(
        f"ok: {kills} kills of workers ({nannies} of their nannies), {schedulers} of the scheduler, in "
        f"{time.monotonic() - begun:,.0f} s; the bytes are those of a calm local build; {again} tasks were begun again, of "
        f"{lost} that may have been under work"
    )
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
