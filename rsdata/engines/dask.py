"""The Dask engine: tasks on whatever workers a scheduler has, on any number of hosts.

A Dask worker supervises, its threads do not work: each keeps a process, as the local engine does, in which its tasks
run. So an item that kills its process costs no Dask worker and is named, and decoding never holds up a heartbeat.
Only futures are used, a bounded window of them; a task that somebody finished is not made again, whoever died since.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from distributed import Client, Future, KilledWorker, LocalCluster, WorkerPlugin, get_worker

from rsdata.engines import ENTRY
from rsdata.engines.local import FRUITLESS, EngineError, Team
from rsdata.plan import NAME, Plan
from rsdata.task import mark_name, read_task, usable
from shards.console import say
from shards.errors import ConfigError, UserError
from shards.store import Store

CONNECT_S = 20.0
_WINDOW = 2
"""Tasks that the scheduler holds for each thread of its workers."""
_LEAST = 16
"""Tasks that it holds at the least: workers may join."""
_TICK_S = 0.5
_ALONE_S = 10.0
_ENDS = 2
"""Times that Dask gives up a suspect at one item before the item is given up."""


def run(
    out: str,
    tasks: Sequence[int],
    *,
    address: str | None,
    workers: int,
    on_progress: Callable[[int], None] = lambda items: None,
    entry: str = ENTRY,
) -> None:
    """Run every task once on the workers of a scheduler.

    Args:
        out: folder or URL with plan.parquet, which every worker sees under this name.
        tasks: numbers of the shards to make.
        address: of the scheduler; None starts one in this process.
        workers: processes, where there is no address.
        on_progress: told how many items of these tasks are behind us.
        entry: `module:function` that runs one task; it is called as `rsdata.task.run_task` is.

    Raises:
        ConfigError: no scheduler answers.
        UserError: what a task raised as a user's fault; a worker that does not see the plan.
        EngineError: the scheduler was lost, a bug in a task, or workers that cannot live.
    """
    with _connected(address, workers) as client:
        crew = Crew(out, entry, shared=address is not None)
        try:
            client.register_plugin(crew)
            _Run(client, crew, tasks, on_progress).work()
        finally:
            if client.status == "running":
                with suppress(Exception):  # what stands in its way is told already
                    client.unregister_worker_plugin(crew.name)


class Crew(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """What a Dask worker has for a build: for each of its threads a process in which tasks run.

    It goes with the build, and with its worker; the processes go with it.
    """

    def __init__(self, out: str, entry: str, *, shared: bool) -> None:
        plan = Plan.open(out)
        self.name = f"rsdata {out}"
        self.out, self.entry, self.shared = out, entry, shared
        self.digest = plan.info.plan_digest
        self.rows = [shard.rows for shard in plan.info.shards]

    def setup(self, worker: Any) -> None:
        """On a worker that joins."""
        self.scheduler = str(worker.scheduler.address) if self.shared else None
        self.here = str(worker.address)
        self.sees = False
        self.teams: dict[int, Team] = {}

    def teardown(self, worker: Any) -> None:
        """On a worker that leaves, and at the end of the build."""
        for team in list(self.teams.values()):
            team.kill()

    def work(self, k: int, skip: Mapping[int, str], marked: bool, report: Callable[[int], None]) -> None:
        """Make shard `k`, unless somebody has."""
        store = Store(self.out)
        self.sees = self.sees or (store.exists(NAME) and Plan.open(store).info.plan_digest == self.digest)
        if not self.sees:
            raise UserError(
                f"{self.out}: the worker {self.here} does not see this build's {NAME} there; give a folder that all "
                "hosts share under one name, or the URL of an object store"
            )
        if usable(store, read_task(store, k, self.digest)):
            return
        thread = threading.get_ident()
        if thread not in self.teams:
            self.teams[thread] = Team(self.entry, self.scheduler)
        team = self.teams[thread]
        team.work(self.out, [k], workers=1, on_progress=report, skip=skip, marked=marked)


def _work(name: str, k: int, skip: Mapping[int, str], marked: bool) -> None:
    """The task of Dask."""
    worker, last = get_worker(), 0.0

    def report(items: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TICK_S:
            worker.log_event(name, [k, items])
            last = now

    worker.plugins[name].work(k, skip, marked, report)


class _Run:
    """One build, as its client sees it."""

    def __init__(
        self, client: Client, crew: Crew, tasks: Sequence[int], on_progress: Callable[[int], None]
    ) -> None:
        self.client, self.crew, self.on_progress = client, crew, on_progress
        self.store = Store(crew.out)
        self.left = list(reversed(tasks))
        self.token = secrets.token_hex(4)
        self.under_work: dict[Future, int] = {}
        self.ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.at: dict[int, int] = {}
        self.skip: dict[int, dict[int, str]] = {}
        self.suspects: dict[int, int] = {}
        """Tasks that Dask gave up, for workers died of them or beside them; how often without a mark. One at a time
        is run, with its items marked, so that none is blamed for another."""
        self.waiting: deque[int] = deque()
        """Suspects that are not under work."""
        self.deaths: Counter[tuple[int, int]] = Counter()
        self.behind = self.submitted = 0

    def work(self) -> None:
        """Until every task is done."""
        self.client.subscribe_topic(self.crew.name, self._heard)
        try:
            self.nobody = time.monotonic() + _ALONE_S
            while self.left or self.waiting or self.under_work:
                self._greet(self._fill())
                with suppress(queue.Empty):
                    self._take(self.ended.get(timeout=_TICK_S))
                    while True:
                        self._take(self.ended.get_nowait())
                if self.client.status != "running":
                    raise self._scheduler_lost()
                self.on_progress(self.behind + sum(self.at.values()))
        finally:
            for future in list(self.under_work):
                with suppress(Exception):  # the scheduler may be gone
                    future.release()

    def _fill(self) -> int:
        """Submit what the window has room for; the threads of all workers."""
        info = self.client.scheduler_info(n_workers=-1)["workers"]
        threads: int = sum(worker["nthreads"] for worker in info.values())
        while self.left and len(self.under_work) < max(_LEAST, _WINDOW * threads):
            self._submit(self.left.pop())
        if self.waiting and not self.suspects.keys() & set(self.under_work.values()):
            self._submit(self.waiting.popleft())
        return threads

    def _greet(self, threads: int) -> None:
        """Say it when nobody is there to work."""
        now = time.monotonic()
        if threads:
            self.nobody = now + _ALONE_S
        elif now > self.nobody:
            self.nobody = now + 6 * _ALONE_S
            here = self.client.scheduler.address
            say(f"{here}: has no workers; start some: dask worker {here}")

    def _submit(self, k: int) -> None:
        self.submitted += 1
        future = self.client.submit(
            _work,
            self.crew.name,
            k,
            self.skip.get(k, {}),
            k in self.suspects,
            key=f"rsdata-{self.token}-{self.submitted:06d}",
            pure=False,
        )
        self.under_work[future] = k
        future.add_done_callback(self.ended.put)

    def _heard(self, event: Any) -> None:
        k, items = event[1]
        if k in self.at or k in self.under_work.values():
            self.at[k] = items

    def _take(self, future: Future) -> None:
        """One task that ended, well or not."""
        k = self.under_work.pop(future)
        self.at.pop(k, None)
        if future.cancelled():
            raise self._scheduler_lost()
        error = future.exception() if future.status == "error" else None
        future.release()
        if isinstance(error, KilledWorker):
            self._suspect(k)
        elif isinstance(error, UserError):
            raise error
        elif error is not None:
            raise EngineError(
                f"task {k} cannot be run by the workers of {self.client.scheduler.address}; finished shards are kept\n"
                f"  {type(error).__name__}: {error}\n  They need this version of rspretrain; so does the scheduler."
            )
        else:
            self.behind += self.crew.rows[k]
            if self.suspects.pop(k, None) is not None:
                self.store.remove(mark_name(k))

    def _suspect(self, k: int) -> None:
        """Dask gave a task up: run it alone among its like; an item that was marked at two such ends is left out."""
        self.waiting.append(k)
        if k not in self.suspects:
            self.suspects[k] = 0
        elif not self.store.exists(mark_name(k)):
            self.suspects[k] += 1
            if self.suspects[k] >= FRUITLESS:
                raise self._hopeless(k)
        else:
            at = int(self.store.read(mark_name(k)))
            self.deaths[k, at] += 1
            if self.deaths[k, at] >= _ENDS:
                if at >= self.crew.rows[k]:
                    raise self._hopeless(k)
                self.skip.setdefault(k, {})[at] = "killed the workers that touched it (out of memory?)"
        self.store.remove(mark_name(k))

    def _hopeless(self, k: int) -> EngineError:
        return EngineError(
            f"the workers that make shard {k} die outside of any item; finished shards are kept\n"
            "  Is there enough memory? Their own words are in the logs of Dask."
        )

    def _scheduler_lost(self) -> EngineError:
        return EngineError(
            f"{self.crew.out}: the scheduler is lost; finished shards are kept, start it again and run the same command"
        )


@contextmanager
def _connected(address: str | None, workers: int) -> Iterator[Client]:
    """A client; its library's log is not for the terminal of a build."""
    for name in ("distributed", "distributed.client", "distributed.worker", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if address is None:
        with (
            LocalCluster(
                n_workers=1,
                threads_per_worker=workers,
                processes=False,  # its threads have a process each anyway
                protocol="tcp://",
                host="127.0.0.1",
                memory_limit=None,
                dashboard_address=":0",
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="rsdata")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--address {address}: no scheduler answers ({error}); start one with: dask scheduler"
        ) from None
    try:
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=5)
