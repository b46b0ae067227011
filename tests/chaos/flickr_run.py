"""Build a list of photos whose fates are known, through kills, and hold what was kept and what failed against the truth.

Usage: python tests/chaos/flickr_run.py 2000 [--kills 5] [--rate 200] [--seed 0] [--folder DIR]. Of the photos 10 % are
placeholders, 10 % answered 404, 5 % truncated, 5 % slow, 2 % redirected into a private network, 20 % without location. Prints
a line for each fact that holds; exit code 1 at the first that does not.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rsdata"))

from flickr_lists import ENV, KEY, calls, check_fates, check_rate, options
from image_trees import digests
from served_planet import planet, run, start

from rsdata.sandbox.flickr.lists import write_url_list
from rsdata.sandbox.flickr.photos import Fate
from shards.verify import verify

SHARES: dict[Fate, float] = {
    "placeholder": 0.10,
    "missing": 0.10,
    "truncated": 0.05,
    "slow": 0.05,
    "private": 0.02,
    "nowhere": 0.20,
}


class _FactError(Exception):
    """A fact that does not hold."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=int)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--rate", type=int, default=200, help="calls of the API a second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    base = Path(tempfile.mkdtemp(dir=given.folder))
    begun = time.monotonic()
    try:
        truths = write_url_list(base / "urls.txt", given.photos, seed=given.seed, shares=SHARES)
        with planet("--seed", str(given.seed)) as url:
            quota = ["--quota", given.rate * 3600, "--samples-per-shard", max(1, given.photos // 10)]
            calm = base / "calm"
            code, _, said = run(
                "run",
                "geoimagenet",
                calm,
                *options(base, url, base / "calm.jsonl", *quota),
                env=ENV,
                timeout=3600,
            )
            _see(code == 3, f"a build that ends with code {code}, {_since(begun)}\n{said}")
            _see(check_fates(calm, truths) > 0, f"{len(truths):,} photos are kept or failed as planned")
            _see(verify(calm).ok, "verify finds it whole")
            found = calls(url)
            check_rate([at for _, at in found], given.rate)
            _see(len(found) == len(truths), f"each was asked for once, never above {given.rate} a second")
            out = base / "killed"
            _killed(out, url, base, quota, given.kills, given.seed)
            _see(check_fates(out, truths) > 0, f"the same are kept after {given.kills} kills")
            _see(digests(out).items() >= _content(calm).items(), "the same bytes after kills")
            found = calls(url)[len(truths) :]
            check_rate([at for _, at in found], given.rate)
            again = len(found) - len(truths)
            _see(
                again <= 16 * given.kills,
                f"{again} photos were asked for again, those under way when it was killed",
            )
        secret = [path for path in base.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
        _see(not secret, "the key is in no file")
    except (_FactError, AssertionError) as error:
        print(f"FAILED: {error}; see {base}")
        return 1
    shutil.rmtree(base)
    print(f"ok: all of it, {_since(begun)}")
    return 0


def _killed(out: Path, url: str, base: Path, quota: list[object], kills: int, seed: int) -> None:
    dice, hit = random.Random(seed), 0
    command = ["run", "geoimagenet", out, *options(base, url, base / "killed.jsonl", *quota)]
    while True:
        process = start(*command, env=ENV)
        asked = len(calls(url)) + dice.randint(20, 200)
        while hit < kills and process.poll() is None and len(calls(url)) < asked:
            time.sleep(0.02)
        if hit < kills and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            hit += 1
            continue
        _, said = process.communicate()
        _see(process.returncode == 3, f"killed {hit} times\n{said}")
        return


def _content(out: Path) -> dict[str, str]:
    """Digests of all but the plan, which names the cache of places."""
    return {name: digest for name, digest in digests(out).items() if name != "plan.parquet"}


def _see(holds: bool, fact: str) -> None:
    if not holds:
        raise _FactError(fact)
    print(fact.splitlines()[0], flush=True)


def _since(start_s: float) -> str:
    return f"{time.monotonic() - start_s:,.0f} s"


if __name__ == "__main__":
    sys.exit(main())
