"""Which failures of a call are worth another try, and when."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from shards.failures import FailureClass

T = TypeVar("T")


class RemoteError(Exception):
    """A call that failed, and what that means."""

    def __init__(
        self, kind: FailureClass, reason: str, *, again: bool = False, after_s: float | None = None
    ) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason
        self.again = again
        """Whether the same call may work in a moment."""
        self.after_s = after_s
        """What the service asks to wait, seconds."""


@dataclass(frozen=True)
class Backoff:
    """Exponential back-off with full jitter (waits differ from run to run, data do not)."""

    attempts: int = 12
    base_s: float = 0.25
    """Longest wait after the first failure; it doubles with each further one."""
    cap_s: float = 30.0
    total_s: float = 600.0
    """No try is begun later than this after the first one."""

    def wait_s(self, failures: int, after_s: float | None) -> float:
        """Seconds to wait after this many failures, never less than the service asked for."""
        ceiling = min(self.cap_s, self.base_s * 2.0 ** (failures - 1))
        return max(after_s or 0.0, random.uniform(0.0, ceiling))


NETWORK = Backoff()
"""For 429, 5xx and lost connections."""
ANSWERS = Backoff(attempts=6, cap_s=2.0)
"""For answers that are damaged though the service says that all is well."""


def retrying(call: Callable[[], T], backoff: Backoff = NETWORK) -> T:
    """Call until it works, until its failure is of no use to repeat, or until the bounds are reached.

    Raises:
        RemoteError: the last one; `transient` where only the bounds ended it.
    """
    start = time.monotonic()
    for failures in range(1, backoff.attempts + 1):
        try:
            return call()
        except RemoteError as error:
            wait_s = backoff.wait_s(failures, error.after_s)
            late = time.monotonic() - start + wait_s > backoff.total_s
            if not error.again:
                raise
            if failures == backoff.attempts or late:
                # It says nothing of the archive, whatever came: another day it may work.
                error.again, error.kind = False, FailureClass.TRANSIENT
                raise
        time.sleep(wait_s)
    raise AssertionError("attempts is at least 1")


def of_status(status: int, host: str, message: str, retry_after: str | None = None) -> RemoteError:
    """What an HTTP error status means.

    Args:
        status: 400 or more.
        host: that answered.
        message: what it said.
        retry_after: the header of that name.
    """
    reason = f"{host} answered {status}" + (f": {message}" if message else "")
    if status in (408, 429) or status >= 500 or "ateLimitExceeded" in message:
        return RemoteError(FailureClass.TRANSIENT, reason, again=True, after_s=parse_retry_after(retry_after))
    if status in (401, 403):
        return RemoteError(FailureClass.REFUSED, reason)
    if status in (404, 410):
        return RemoteError(FailureClass.GONE, reason)
    return RemoteError(FailureClass.INVALID, reason)


def parse_retry_after(text: str | None) -> float | None:
    """Seconds from a Retry-After header (a number or a date); None where there is none that can be read."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - datetime.now(UTC).timestamp())
