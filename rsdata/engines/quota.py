"""Limits of a service counted by a Dask scheduler, for workers on several hosts.

A lease of a killed process comes back by itself after `distributed.scheduler.locks.lease-timeout`, 30 s by default.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from rsdata.remote import limits
from shards.errors import UserError


def share_over(scheduler: str) -> None:
    """From now on the limiters of this process count at a scheduler; it is not called before the first of them."""
    limits.share(lambda service, concurrency, rate: SharedLimiter(scheduler, service, concurrency, rate))


class SharedLimiter(limits.Limiter):
    """At most `concurrency` calls at once and `rate` calls a second, over all processes that know the scheduler.

    The rate is a second semaphore: a call takes one of its leases, which comes back `leases / rate` seconds later.
    """

    def __init__(self, scheduler: str, service: str, concurrency: int, rate: float | None = None) -> None:
        limits.check_limits(concurrency, rate)
        self.concurrency, self.rate = concurrency, rate
        self._scheduler = scheduler
        self._calls = _semaphore(scheduler, f"calls {service}", concurrency)
        if rate is not None:
            leases = max(1, math.floor(rate / 10))  # a tenth of a second's worth may come at once
            self._starts = _semaphore(scheduler, f"starts {service} {rate:g}", leases)
            self._back_s = leases / rate

    @contextmanager
    def call(self) -> Iterator[None]:
        """Wait for a lease, then for the rate, then hold the lease until the block ends."""
        self._lease(self._calls)
        try:
            if self.rate is not None:
                self._lease(self._starts)
                back = threading.Timer(self._back_s, self._starts.release)
                back.daemon = True
                back.start()
            yield
        finally:
            self._calls.release()

    def _lease(self, semaphore: Any) -> None:
        try:
            semaphore.acquire()
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self._scheduler}: the scheduler gives no leases ({error}); run the same command again to continue"
            ) from None


def _semaphore(scheduler: str, name: str, leases: int) -> Any:
    from distributed import Semaphore

    client = _client(scheduler)
    return Semaphore(leases, f"rsdata {name} {leases}", scheduler_rpc=client.scheduler, loop=client.loop)


@cache
def _client(scheduler: str) -> Any:
    from distributed import Client

    return Client(scheduler, set_as_default=False, name="rsdata-limits")
