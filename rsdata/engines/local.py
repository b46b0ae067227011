"""The local engine: a supervisor of plain processes that survives the death of any of them.

No pool of the standard library does: a worker killed for memory loses or hangs the whole run. Here it is replaced and
its task run again; an item that was under work in three deaths is recorded as failed and left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rsdata.engines import ENTRY
from shards.errors import UserError

DEATHS = 3
"""Deaths of a worker at one item before the item is given up."""
FRUITLESS = 5
"""Deaths in a row, of any worker, before one has begun an item."""
_GATHER_S = 0.01  # answers of this long are read together: a message an item must cost the supervisor nothing
_START = -1


class EngineError(UserError):
    """Tasks that cannot be run: a bug, or workers that die outside of any item."""


def run(
    out: str,
    tasks: Sequence[int],
    *,
    workers: int,
    on_progress: Callable[[int], None] = lambda items: None,
    entry: str = ENTRY,
) -> None:
    """Run every task once, each in one of `workers` processes.

    Args:
        out: folder or URL with plan.parquet.
        tasks: numbers of the shards to make.
        workers: processes.
        on_progress: told how many items of these tasks are behind us.
        entry: `module:function` that runs one task; it is called as `rsdata.task.run_task` is.

    Raises:
        UserError: what a task raised as a user's fault (a full disk, say).
        EngineError: a bug in a task, with its traceback, or workers that cannot live.
    """
    state = _Run(out, deque(tasks), entry)
    try:
        for _ in range(min(workers, len(tasks))):
            state.start()
        while state.workers:
            for key, _ in state.selector.select():
                state.listen(key.data)
            on_progress(state.behind + sum(max(0, worker.at) for worker in state.workers))
            time.sleep(_GATHER_S)
    finally:
        state.stop()


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    task: int | None = None
    at: int = _START
    """Position of the item under work; -1 before the first."""
    heard: bytes = b""


@dataclass
class _Run:
    out: str
    left: deque[int]
    entry: str
    workers: list[_Worker] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    deaths: Counter[tuple[int, int]] = field(default_factory=Counter)
    skip: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    fruitless: int = 0
    behind: int = 0
    """Items of finished tasks."""

    def start(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
        process = subprocess.Popen(
            [sys.executable, "-m", "rsdata.engines.worker", self.entry, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | threads,
            process_group=0,  # Ctrl-C is for the supervisor, which then stops its workers
        )
        worker = _Worker(process)
        self.workers.append(worker)
        assert process.stdout is not None
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)
        self.order(worker)

    def order(self, worker: _Worker) -> None:
        """Give a worker its next task, or let it go when none is left."""
        assert worker.process.stdin is not None
        if not self.left:
            worker.task = None
            worker.process.stdin.close()
            return
        worker.task, worker.at = self.left.popleft(), _START
        order = {"out": self.out, "task": worker.task, "skip": self.skip[worker.task]}
        if any(task == worker.task and deaths >= DEATHS - 1 for (task, _), deaths in self.deaths.items()):
            order["careful"] = (
                True  # of the items under work at once, the oldest is named: it may not be the one
            )
        try:
            worker.process.stdin.write(json.dumps(order).encode() + b"\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: the end of its answers tells

    def listen(self, worker: _Worker) -> None:
        """Take what a worker has said; the end of its pipe is its death."""
        assert worker.process.stdout is not None
        data = os.read(worker.process.stdout.fileno(), 1 << 16)
        *lines, worker.heard = (worker.heard + data).split(b"\n")
        for line in lines:
            self.take(worker, json.loads(line))
        if not data:
            self.bury(worker)

    def take(self, worker: _Worker, answer: dict[str, Any]) -> None:
        self.fruitless = 0
        if "at" in answer:
            worker.at = answer["at"]
        elif "done" in answer:
            self.behind += max(0, worker.at)
            worker.at = _START
            self.order(worker)
        elif "fault" in answer:
            raise UserError(answer["fault"])
        else:
            raise EngineError(
                f"task {worker.task} met a bug; finished shards are kept, please report this:\n{answer['bug']}"
            )

    def bury(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        self.selector.unregister(worker.process.stdout)
        self.workers.remove(worker)
        status = worker.process.wait()
        worker.process.stdout.close()
        if worker.process.stdin is not None:
            _close(worker.process.stdin)
        if worker.task is None:
            return
        if worker.at == _START:
            self.fruitless += 1
            if self.fruitless >= FRUITLESS:
                raise EngineError(_hopeless(f"{FRUITLESS} workers died at their start", _cause(status)))
        else:
            self.deaths[worker.task, worker.at] += 1
            if self.deaths[worker.task, worker.at] >= DEATHS:
                self.give_up(worker.task, worker.at, _cause(status))
        self.left.appendleft(worker.task)
        self.start()

    def give_up(self, task: int, at: int, cause: str) -> None:
        from rsdata.plan import Plan

        if at >= Plan.open(self.out).info.shards[task].rows:
            raise EngineError(_hopeless(f"{DEATHS} workers died while they finished shard {task}", cause))
        self.skip[task][at] = f"killed its worker {DEATHS} times ({cause})"

    def stop(self) -> None:
        """End every worker and wait for it, so that none writes after we return."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    _close(pipe)
        self.selector.close()


def _close(pipe: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # bytes for a dead worker
        pipe.close()


def _hopeless(what: str, cause: str) -> str:
    return (
        f"{what} ({cause}); finished shards are kept\n"
        "  What they said stands above. Is there enough memory? Try again with fewer --workers."
    )


def _cause(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    return f"{name}; out of memory?" if name == "SIGKILL" else name
