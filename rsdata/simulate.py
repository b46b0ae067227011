"""How long a plan would take on other machines: the build's own rules of sharing, played through without a request.

A worker makes one shard after the other and has `Source.concurrency()` places under work; a place is its requests, one
after the other, and its share of a core. Calls share the quota evenly; what a process needs to start is not counted.
Every place costs the same, so those under work end in the order in which they began, and a million places are played in
about two seconds.
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field

from rsdata.plan import Plan
from shards.config import Config
from shards.errors import ConfigError


class Means(Config):
    """What `--simulate workers=8,latency=0.1,quota=40` says."""

    workers: int = Field(1, gt=0, description="processes over all hosts")
    latency: float = Field(1.0, ge=0, description="seconds of a request")
    quota: int | None = Field(
        None, gt=0, description="requests at once, over all workers; by default any number"
    )
    rate: float | None = Field(
        None, gt=0, description="requests a second, over all workers; by default any number"
    )
    cpu: float = Field(
        0.0, ge=0, description="seconds of a core for a place, to check, convert and compress it"
    )
    places: int = Field(1_000_000, gt=0, description="items of the plan, were it so large")

    @classmethod
    def parse(cls, text: str) -> Means:
        """From `name=value,name=value`.

        Raises:
            ConfigError: a name or a value that is none.
        """
        pairs = [part.partition("=")[::2] for part in text.split(",") if part.strip()]
        return cls.build("--simulate", **{name.strip(): value.strip() for name, value in pairs})


@dataclass(frozen=True)
class Forecast:
    """What is to be expected."""

    places: int
    hours: float
    requests: float
    requests_per_s: float
    limit: str
    """What the time goes to: `quota`, `rate`, `cpu`, or `latency`, of which more workers would hide more."""
    estimate: dict[str, float]
    """The source's own estimate for so many places: bytes, compute, share of the allowance."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """Lines for people."""
        return (
            f"simulated, {self.places:,} places: {self.hours:,.3g} hours, {self.requests:,.0f} requests, "
            f"{self.requests_per_s:,.3g} a second; the limit is the {self.limit}"
        )


def simulate(plan: Plan, means: Means) -> Forecast:
    """Play the build of a plan, were it of `means.places` items.

    Raises:
        ConfigError: nothing that takes time.
    """
    source, items = plan.source(), plan.info.items
    estimate = source.estimate(means.places)
    requests = estimate.get("requests", 0.0) / means.places
    if not requests:
        first = plan.items(0)
        requests = sum(len(item.urls) for item in first) / len(first)
    shard = source.shard_size() or -(-items // len(plan.info.shards))
    seconds, limit = _play(means, requests, shard, source.concurrency())
    return Forecast(
        places=means.places,
        hours=seconds / 3600,
        requests=requests * means.places,
        requests_per_s=requests * means.places / seconds,
        limit=limit,
        estimate=estimate,
    )


def _play(means: Means, requests: float, shard: int, threads: int) -> tuple[float, str]:
    """Seconds, and what they went to, of places with so many requests each in shards of so many places."""
    waiting = requests * means.latency
    work = waiting + means.cpu  # seconds of a thread for a place, when nothing is in its way
    if work <= 0:
        raise ConfigError(
            f"--simulate latency={means.latency:g},cpu={means.cpu:g}: no place would take any time; give one of them"
        )
    left, now, clock = means.places, 0.0, 0.0  # the clock is the one of the places: it slows where they share
    spent: dict[str, float] = {}
    running: deque[tuple[float, _Worker]] = deque()
    busy = [_Worker() for _ in range(means.workers)]
    for worker in busy:
        left -= worker.take(min(shard, left))
        running.extend((work, worker) for _ in range(worker.begin(threads)))
    active = sum(worker.open > 0 for worker in busy)
    while running:
        shares: dict[str, float] = {}
        if means.quota is not None and waiting:
            shares["quota"] = means.quota * work / (len(running) * waiting)
        if means.rate is not None and requests:
            shares["rate"] = means.rate * work / (len(running) * requests)
        if means.cpu:
            shares["cpu"] = active * work / (len(running) * means.cpu)
        shares["latency"] = 1.0
        limit = min(shares, key=shares.__getitem__)
        end, worker = running.popleft()
        passed = (end - clock) / shares[limit]
        spent[limit] = spent.get(limit, 0.0) + passed
        now, clock = now + passed, end
        worker.open -= 1
        if worker.open == 0:
            left -= worker.take(min(shard, left))
            active -= worker.open == 0
        for _ in range(worker.begin(threads)):
            running.append((clock + work, worker))
    return now, max(spent, key=spent.__getitem__)


class _Worker:
    """A process and its shard."""

    open = begun = size = 0
    """Places of the shard: not ended; begun so far; all."""

    def take(self, size: int) -> int:
        """The next shard."""
        self.open = self.size = size
        self.begun = 0
        return size

    def begin(self, threads: int) -> int:
        """How many places begin now."""
        room = threads - (self.begun - (self.size - self.open))
        count = max(0, min(room, self.size - self.begun))
        self.begun += count
        return count
