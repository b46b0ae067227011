"""Every archive of the planet, from its host: calm, then through faults and kills, compared byte for byte.

Usage: python tests/chaos/every_source.py [NAME …] [--kills 2] [--seed 0] [--out DIR]. Prints a line a source; exit code 1 if
one fails. With --out the calm sets and a contact sheet of each (NAME.html) stay there. `seco` and `geoimagenet` have scripts of
their own beside this one.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "rsdata"))

from served_planet import made, planet, run, start, stats

from shards.index import Index
from shards.verify import verify

FILES, S3 = "{url}/files", "s3://spacenet-dataset"
SOURCES: dict[str, tuple[str, ...]] = {
    "fmow": ("fmow", "--root", f"{S3}/Hosted-Datasets/fmow/fmow-rgb", "--endpoint", "{url}/s3"),
    "sn7": (
        *("sn7", "--root", f"{S3}/spacenet/SN7_buildings/tarballs/SN7_buildings_train.tar.gz"),
        *("--endpoint", "{url}/s3"),
    ),
    "bigearthnet": ("bigearthnet", "--root", f"{FILES}/bigearthnet/bigearthnet.zip"),
    "bigearthnet-s1": ("bigearthnet", "--root", f"{FILES}/bigearthnet/bigearthnet.zip", "--sensor", "s1"),
    "oscd": ("oscd", "--root", f"{FILES}/oscd/oscd.zip"),
    "change": ("change", "--root", f"{FILES}/levir-cd/levir-cd.zip"),
    "url": ("url", "--root", f"{FILES}/seco/seco_100k.zip"),
    **{
        name: ("detection", "--root", f"{FILES}/{name}/{name}.zip", "--preset", name)
        for name in ("dior", "dota", "xview", "crowdai")
    },
    **{
        name: ("segmentation", "--root", f"{FILES}/{name}/{name}.zip", "--preset", name)
        for name in ("loveda", "spacenet-buildings")
    },
}
FAULTS = ("--fault", "429=0.1", "--fault", "500=0.1", "--fault", "cut=0.15")


def words(name: str, url: str, cache: Path) -> list[str]:
    """Source and options of a run."""
    return [word.format(url=url) for word in SOURCES[name]] + ["--cache", str(cache)]


def trial(name: str, base: Path, calm_url: str, rough_url: str, kills: int, dice: random.Random) -> str:
    """Run one source twice; what was seen.

    Raises:
        AssertionError: something does not hold.
    """
    kind, *options = words(name, calm_url, base / f"{name}-cache")
    calm, rough = base / name, base / f"{name}-rough"
    begun = time.monotonic()
    code, _, said = run("run", kind, calm, *options, timeout=900)
    length = time.monotonic() - begun
    assert code in (0, 3), said
    kind, *options = words(name, rough_url, base / f"{name}-rough-cache")
    killed, ended = 0, None
    while ended is None:
        process = start("run", kind, rough, *options)
        try:
            _, said = process.communicate(timeout=dice.uniform(0.3, 0.9) * length if killed < kills else 900)
            ended = process.returncode
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
    assert ended == code, f"ended with {ended}: {said}"
    assert made(rough) == made(calm), "other bytes after kills and faults"
    report = verify(calm)
    assert report.ok, report.summary()
    code, _, said = run("preview", calm, base / f"{name}.html", timeout=300)
    assert code == 0, said
    shutil.rmtree(rough)
    failures = Counter(row["class"] for row in pq.read_table(calm / "failures.parquet").to_pylist())
    info = Index.open(calm).info
    failed = ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items())) or "none"
    return f"{info.samples:>5} samples {info.views:>5} views, failed: {failed}; {killed} kills; verify: whole; {length:.1f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SOURCES))
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    given = parser.parse_args()
    base = given.out or Path(tempfile.mkdtemp())
    base.mkdir(parents=True, exist_ok=True)
    dice, failed = random.Random(given.seed), 0
    with planet() as calm_url, planet(*FAULTS) as rough_url:
        for name in given.names or SOURCES:
            try:
                print(f"{name:<20} {trial(name, base, calm_url, rough_url, given.kills, dice)}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"{name:<20} FAILED: {error}", flush=True)
        print(f"faults answered: {stats(rough_url)['faults']}")
    if given.out is None:
        shutil.rmtree(base)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
