"""Build places of five seasons from the served planet, calm, on one thread, through faults and through kills.

Usage: python tests/chaos/kill_seco.py 20 [--locations 200] [--seed 0] [--folder DIR]. Prints a line for each fact that
holds; exit code 1 at the first that does not.
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
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "rsdata"))

from served_planet import FAULTS, check_accounts, check_patches, made, options, planet, run, start, stats

from shards.verify import verify


class _FactError(Exception):
    """A fact that does not hold."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int)
    parser.add_argument("--locations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(dir=given.folder))
    places = ["--locations", given.locations, "--seed", given.seed]
    places += ["--samples-per-shard", max(1, given.locations // 20)]
    begun = time.monotonic()

    def build(name: str, url: str, threads: int) -> Path:
        out, start_s = base / name, time.monotonic()
        code, _, said = run("run", "seco", out, *places, *options(url, "--threads", threads), timeout=3600)
        _see(code in (0, 3), f"{name}: a build that ends with code {code}, {_since(start_s)}\n{said}")
        return out

    try:
        with planet() as url:
            calm = build("calm", url, 8)
            asked = stats(url)["requests"]
            done, failed = check_accounts(calm)
            _see(done + failed == given.locations, f"{done} places done, {failed} failed for a reason")
            patches = check_patches(calm)
            _see(patches == done * 5 * 3, f"{patches:,} patches of 264, 132 and 44 px")
            _see(verify(calm).ok, "verify finds it whole")
            _see(asked <= 16 * done, f"{asked / done:.1f} requests an accepted place")
            expected = made(calm)
            _same(expected, build("one thread", url, 1), "with one thread")
            _same(expected, _killed(base / "killed", url, places, given.kills, given.seed), "after kills")
        with planet(*FAULTS) as wild:
            out = build("faults", wild, 8)
            injected = sum(stats(wild)["faults"].values())
            share = 100 * injected / stats(wild)["requests"]
            _same(expected, out, f"with {injected:,} injected faults, {share:.0f} % of all requests")
    except (_FactError, AssertionError) as error:
        print(f"FAILED: {error}; see {base}")
        return 1
    shutil.rmtree(base)
    print(f"ok: all of it, {_since(begun)}")
    return 0


def _killed(out: Path, url: str, places: list[Any], kills: int, seed: int) -> Path:
    dice, hit, start_s = random.Random(seed), 0, time.monotonic()
    while True:
        process = start("run", "seco", out, *places, *options(url, "--threads", 8))
        try:
            _, said = process.communicate(timeout=dice.uniform(2.0, 9.0) if hit < kills else None)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            hit += 1
            continue
        if hit < kills:  # it was quicker than the kills: again
            shutil.rmtree(out)
            continue
        _see(process.returncode in (0, 3), f"killed {hit} times, {_since(start_s)}\n{said}")
        left = [path.name for path in out.rglob("*.part")]
        _see(not left, f"{len(left)} parts left behind")
        return out


def _same(expected: dict[str, str], out: Path, how: str) -> None:
    _see(made(out) == expected, f"the same bytes {how}")


def _see(holds: bool, fact: str) -> None:
    if not holds:
        raise _FactError(fact)
    print(fact.splitlines()[0], flush=True)


def _since(start_s: float) -> str:
    return f"{time.monotonic() - start_s:,.0f} s"


if __name__ == "__main__":
    sys.exit(main())
