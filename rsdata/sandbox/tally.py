"""What a server was asked: counts by path and fault, most at once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any


class Tally:
    """Counts of requests; what `GET /_sandbox/stats` answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.reset()

    def reset(self) -> None:
        """From 0 again."""
        with self._lock:
            self._paths: Counter[str] = Counter()
            self._faults: Counter[str] = Counter()
            self._most = self._now

    def enter(self, name: str, limit: int | None) -> bool:
        """One more at work; whether it is within the limit."""
        with self._lock:
            self._paths[name] += 1
            self._now += 1
            self._most = max(self._most, self._now)
            return limit is None or self._now <= limit

    def leave(self, fault: str | None) -> None:
        """One less."""
        with self._lock:
            self._now -= 1
            if fault:
                self._faults[fault] += 1

    def to_dict(self) -> dict[str, Any]:
        """Total, by path (`value:compute`, `image:computePixels`, …), faults by kind, most at once."""
        with self._lock:
            return {
                "requests": sum(self._paths.values()),
                "by_path": dict(sorted(self._paths.items())),
                "faults": dict(sorted(self._faults.items())),
                "max_concurrent": self._most,
            }


def short_of(path: str) -> str:
    """`value:compute`, `thumbnails:getPixels`, `algorithms` of Earth Engine's paths; else the first part, `/cog`."""
    parts = path.split("/")
    if len(parts) < 5 or parts[2] != "projects":
        return f"/{parts[1]}"
    return parts[4] + parts[-1][parts[-1].rindex(":") :] if len(parts) > 5 and ":" in parts[-1] else parts[4]
