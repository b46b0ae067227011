"""SIGTERM and Ctrl-C during training: finish the step, save, leave."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

_AT_ONCE_AFTER_S = 2.0
"""torchrun passes a Ctrl-C on that the terminal has sent to every rank already: the echo is no second one."""


class StopSignals:
    """Notes a signal for the loop to ask about; a second Ctrl-C leaves at once."""

    def __init__(self) -> None:
        self.number = 0
        """Of the signal; 0 while there was none."""
        self._since = 0.0
        self._before: dict[int, Any] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT and time.monotonic() - self._since > _AT_ONCE_AFTER_S:
            raise KeyboardInterrupt
        if not self.number:
            self.number, self._since = number, time.monotonic()

    def __enter__(self) -> Self:
        self._before = {n: signal.signal(n, self._note) for n in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
