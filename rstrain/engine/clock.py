"""Clock: seconds spent, seconds waited for data, and when the next checkpoint is due."""

from __future__ import annotations

import time


class Clock:
    """Runs beside the loop; what it says enters the records, never the weights."""

    def __init__(self, save_minutes: float) -> None:
        self._every = save_minutes * 60
        now = time.monotonic()
        self._saved = self._start = self._asked = now
        self._waited = 0.0
        self._steps = 0

    def got_batch(self) -> None:
        """A batch has come."""
        self._waited += time.monotonic() - self._asked
        self._steps += 1

    def ask(self) -> None:
        """The next batch is asked for."""
        self._asked = time.monotonic()

    def save_due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() - self._saved >= self._every

    def saved(self) -> None:
        """A checkpoint has been written."""
        self._saved = time.monotonic()

    def lap(self) -> tuple[float, float, int]:
        """Seconds, seconds of them waited, and steps since the last lap."""
        now = time.monotonic()
        out = (max(now - self._start, 1e-9), self._waited, self._steps)
        self._start, self._waited, self._steps = now, 0.0, 0
        return out
