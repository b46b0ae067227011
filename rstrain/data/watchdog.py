"""Watchdog: says when a trainer waits too long for a batch, and where the processes that read stand."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch import Tensor

from shards.console import say

STACKS = signal.SIGUSR1
"""What makes a reading process print the stacks of its threads to stderr."""


class Watchdog:
    """Looks at the clock beside a loop that waits for batches; it changes nothing but what stands in the log."""

    def __init__(self, pids: Tensor, stall_s: float) -> None:
        self._pids, self._stall_s = pids, stall_s
        self._since: float | None = None
        self._said = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        if len(pids):
            self._thread.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A batch is waited for while the block runs."""
        self._since, self._said = time.monotonic(), 0
        try:
            yield
        finally:
            self._since = None

    def close(self) -> None:
        """Stop looking."""
        self._end.set()

    def _watch(self) -> None:
        while not self._end.wait(min(self._stall_s / 4, 10)):
            since = self._since
            if since is not None and time.monotonic() - since > self._stall_s * (self._said + 1):
                self._said += 1
                self._tell(time.monotonic() - since)

    def _tell(self, seconds: float) -> None:
        alive = [pid for pid in self._pids.tolist() if pid]
        say(
            f"no batch for {seconds:.0f} s: the stacks of {len(alive)} reading processes follow "
            f"({', '.join(map(str, alive))}); --stall-s sets how long this takes"
        )
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, STACKS)
