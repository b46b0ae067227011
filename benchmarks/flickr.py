"""Photos a second from the embedded planet's Flickr, places already known: `rsdata build`, as a user runs it. Prints JSON.

The server is a process of its own and shares the cores with the build; CPU time of both is given.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rsdata.sandbox.flickr.lists import write_url_list

FEW = 500
KEY = "0123456789abcdef0123456789abcdef"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_url_list(folder / "urls.txt", given.photos, places=24)
        server = subprocess.Popen(
            [sys.executable, "-m", "rsdata", "sandbox"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            build(folder, "first", url, given)  # fills the cache of places; the planet renders its scenes
            few = build(folder, "few", url, given, "--limit", FEW)
            before = cpu_s(server.pid)
            wall, cpu = build(folder, "second", url, given)
            served = cpu_s(server.pid) - before
        finally:
            server.terminate()
            server.wait()
        size = sum(path.stat().st_size for path in (folder / "second").glob("*.tar"))
    result = {
        "photos": given.photos,
        "kb_a_photo": round(size / given.photos / 1e3, 1),
        "photos_per_s": round(given.photos / wall, 1),
        "photos_per_s_beyond_the_start": round((given.photos - FEW) / (wall - few[0]), 1),
        "build_cpu_ms_a_photo": round(1e3 * (cpu - few[1]) / (given.photos - FEW), 2),
        "server_cpu_ms_a_photo": round(1e3 * served / given.photos, 2),
        "wall_s": round(wall, 2),
        "workers": given.workers,
        "threads": given.threads,
        "cores": os.cpu_count(),
    }
    print(json.dumps(result))


def build(folder: Path, name: str, url: str, given: argparse.Namespace, *more: object) -> tuple[float, float]:
    """Wall and CPU seconds of a build, the start of the program included."""
    options = ["--urls", folder / "urls.txt", "--endpoint", url, "--location-cache", folder / "cache.jsonl"]
    options += ["--quota", 36_000_000, "--threads", given.threads, "--samples-per-shard", 1000, *more]
    rsdata("plan", "geoimagenet", folder / name, *options)
    before, start = children_s(), time.perf_counter()
    rsdata("build", folder / name, "--workers", given.workers)
    return time.perf_counter() - start, children_s() - before


def rsdata(*words: object) -> None:
    """The program, silent."""
    command = [sys.executable, "-m", "rsdata", *map(str, words)]
    env = os.environ | {"FLICKR_API_KEY": KEY}
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def children_s() -> float:
    """CPU seconds of finished children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_s(process: int) -> float:
    """CPU seconds of a running process."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
