"""Earth Engine calls a second against what the allowed concurrency permits, at a given latency, on this machine.

python benchmarks/earthengine.py [--latency 0.1] [--places 12] [--at-once 1 2 4 8]: prints one JSON object. The service is a process
of its own that answers what it was asked before from memory, so that rendering the planet does not take the cores of
the client that is measured; a first pass over all places is not counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rsdata.sandbox.serve import Request, Response, default_routes, start

Handler = Callable[[Request], Response]


def remembering(handler: Handler) -> Handler:
    """The handler, with its answers kept."""
    kept: dict[tuple[str, str, bytes], Response] = {}

    def answer(request: Request) -> Response:
        key = (request.path, str(request.query), request.body)
        if key not in kept:
            kept[key] = handler(request)
        return kept[key]

    return answer


def serve(latency: float, told: Any) -> None:
    """The service; tells its URL."""
    routes = [(prefix, remembering(handler)) for prefix, handler in default_routes()]
    server = start(latency=latency, routes=routes)
    told.send(server.url)
    server.serve_forever()


def requests_at(url: str) -> int:
    """Requests that the service has had."""
    with urllib.request.urlopen(f"{url}/_sandbox/stats") as answer:
        return int(json.load(answer)["requests"])


def measure(url: str, at_once: int, places: int, latency: float) -> dict[str, float]:
    """Fetch all places twice; facts of the second time."""
    from rsdata.earthengine.fetch import check_ready, fetch_place
    from rsdata.sources.base import FetchError, Item
    from rsdata.sources.seco import SeCo

    source = SeCo.build(
        "benchmark",
        locations=places, seed=0, endpoint=url, credentials="anonymous", project=f"p{at_once}", threads=at_once,
        rate=1000, cloud_percent=40,
    )  # fmt: skip
    items = source.listing().items
    check_ready(source)

    def fetch(item: Item) -> bool:
        try:
            fetch_place(source, item)
        except FetchError:
            return False
        return True

    def run() -> int:
        with ThreadPoolExecutor(2 * at_once + 2) as pool:
            return sum(pool.map(fetch, items))

    run()
    before, begun = requests_at(url), time.perf_counter()
    kept = run()
    seconds = time.perf_counter() - begun
    calls = requests_at(url) - before - 1
    permitted = at_once / latency
    return {
        "at_once": at_once,
        "places": places,
        "kept": kept,
        "calls": calls,
        "seconds": round(seconds, 2),
        "calls_per_s": round(calls / seconds, 1),
        "permitted_per_s": permitted,
        "share_percent": round(100 * calls / seconds / permitted, 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--latency", type=float, default=0.1)
    options.add_argument("--places", type=int, default=24)
    options.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8])
    given = options.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    service = context.Process(target=serve, args=(given.latency, there), daemon=True)
    service.start()
    url = here.recv()
    rows = [measure(url, count, given.places * max(1, count // 2), given.latency) for count in given.at_once]
    service.terminate()
    print(json.dumps({"benchmark": "earthengine", "latency_s": given.latency, "runs": rows}, indent=1))


if __name__ == "__main__":
    main()
