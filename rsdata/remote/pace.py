"""Streams that are waited for: one that drips is as lost as one that stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from rsdata.remote.retry import RemoteError
from shards.failures import FailureClass

SLOWEST = 1000
"""Bytes a second: twelve days for a gigabyte."""


def paced(read: Callable[[], bytes], host: str, window_s: float) -> Iterator[bytes]:
    """The pieces of a stream up to an empty one.

    Args:
        read: gives the next piece.
        host: that sends them.
        window_s: so long it may be slower than `SLOWEST`; only waiting counts, not what is done with the pieces.

    Raises:
        RemoteError: it was slower for longer.
    """
    waited_s, got = 0.0, 0
    while True:
        start = time.monotonic()
        piece = read()
        if not piece:
            return
        if waited_s > window_s:  # and it goes on
            if got < SLOWEST * waited_s:
                raise RemoteError(
                    FailureClass.TRANSIENT, f"{host} sends fewer than {SLOWEST:,} bytes a second", again=True
                )
            waited_s, got = 0.0, 0
        waited_s, got = waited_s + time.monotonic() - start, got + len(piece)
        yield piece
