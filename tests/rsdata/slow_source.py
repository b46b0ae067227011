"""A source for tests: samples out of nothing, after a wait, with items that are gone, busy or deadly as a file says."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

import rsdata.sources
from rsdata.sources import ImageFolder
from rsdata.sources.base import Fetched, FetchError, Item, Listing, Source
from shards.failures import FailureClass
from shards.random import uniform
from shards.sample import Sample, View


class Slow(Source):
    """`fates` is a JSON file: item -> gone, invalid, transient, dies, bug, or seconds of waiting."""

    kind: Literal["slow"] = "slow"
    fates: Path
    count: int = 20
    spare: int = 0
    threads: int = 1

    title: ClassVar[str] = "made up"
    url: ClassVar[str] = "nowhere"
    where: ClassVar[frozenset[str]] = frozenset({"fates", "threads"})
    most: ClassVar[int] = 0
    begun: ClassVar[list[str]] = []
    _running: ClassVar[int] = 0
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def concurrency(self) -> int:
        return self.threads

    def listing(self) -> Listing:
        items = [Item(f"{i:06d}", (), group=f"{i:06d}") for i in range(self.count + self.spare)]
        return Listing(items[: self.count], reserves=items[self.count :])

    def fetch(self, item: Item) -> Fetched:
        with Slow._lock:
            Slow.begun.append(item.id)
            Slow._running += 1
            Slow.most = max(Slow.most, Slow._running)
        try:
            self._meet(json.loads(self.fates.read_text()).get(item.id, 0.0))
        finally:
            with Slow._lock:
                Slow._running -= 1
        data = uniform(int(item.id), count=100).tobytes()
        return Fetched(Sample(item.key, {"npy": data}, (View("npy", 10, 10),)), None)

    def _meet(self, fate: str | float) -> None:
        if not isinstance(fate, str):
            time.sleep(fate)
        elif fate == "dies":
            time.sleep(0.2)  # the items before it are under work, too
            os.kill(os.getpid(), signal.SIGKILL)
        elif fate == "bug":
            raise ZeroDivisionError("the bug")
        else:
            raise FetchError(FailureClass(fate), fate)


KNOWN = Annotated[ImageFolder | Slow, Field(discriminator="kind")]


def run(
    out: str, k: int, *, skip: Mapping[int, str], at: Callable[[int], None], careful: bool = False
) -> Any:
    """The real task, in a worker that knows this source."""
    from rsdata.task import run_task

    rsdata.sources.AnySource = KNOWN  # type: ignore[misc]
    return run_task(out, k, skip=skip, at=at, careful=careful)
