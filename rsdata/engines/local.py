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
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
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
    team = Team(entry)
    try:
        team.work(out, tasks, workers=workers, on_progress=on_progress)
    finally:
        team.stop()


@dataclass(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    task: int | None = None
    at: int = _START
    """Position of the item under work; -1 before the first."""
    heard: bytes = b""


@dataclass
class Team:
    """Worker processes, kept from one piece of work to the next, and whoever replaces those that die."""

    entry: str
    scheduler: str | None = None
    """Address of the scheduler that counts the calls of all hosts; None: this host counts its own."""
    workers: list[_Worker] = field(default_factory=list)
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    out: str = ""
    left: deque[int] = field(default_factory=deque)
    deaths: Counter[tuple[int, int]] = field(default_factory=Counter)
    skip: dict[int, dict[int, str]] = field(default_factory=dict)
    marked: bool = False
    fruitless: int = 0
    behind: int = 0
    """Items of finished tasks."""
    stopped: bool = False

    def work(
        self,
        out: str,
        tasks: Sequence[int],
        *,
        workers: int,
        on_progress: Callable[[int], None] = lambda items: None,
        skip: Mapping[int, str] | None = None,
        marked: bool = False,
    ) -> None:
        """Run every task once, as `run` does; the processes stay.

        Args:
            out: folder or URL with plan.parquet.
            tasks: numbers of the shards to make.
            workers: processes.
            on_progress: told how many items of these tasks are behind us.
            skip: items that no task may touch, and why.
            marked: one item after the other, its position written to the folder before it is touched.
        """
        self.out, self.left, self.marked, self.behind = out, deque(tasks), marked, 0
        self.deaths.clear()
        self.fruitless = 0
        self.skip = {task: dict(skip or {}) for task in tasks}
        for worker in list(self.workers):
            self._order(worker)
        while len(self.workers) < min(workers, len(tasks)):
            self._start()
        while any(worker.task is not None for worker in self.workers):
            for key, _ in self.selector.select():
                self._listen(key.data)
            on_progress(self.behind + sum(max(0, worker.at) for worker in self.workers))
            time.sleep(_GATHER_S)

    def _start(self) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "rsdata.engines.worker",
                self.entry,
                str(os.getpid()),
                self.scheduler or "",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | threads,
            process_group=0,  # Ctrl-C is for the supervisor, which then stops its workers
        )
        worker = _Worker(process)
        self.workers.append(worker)
        if self.stopped:  # while it was started
            process.kill()
        assert process.stdout is not None
        self.selector.register(process.stdout, selectors.EVENT_READ, worker)
        self._order(worker)

    def _order(self, worker: _Worker) -> None:
        """Give a worker its next task, or none when none is left."""
        assert worker.process.stdin is not None
        worker.task, worker.at = self.left.popleft() if self.left else None, _START
        if worker.task is None:
            return
        order = {"out": self.out, "task": worker.task, "skip": self.skip[worker.task]}
        if self.marked:
            order["careful"] = order["marked"] = True
        elif any(task == worker.task and deaths >= DEATHS - 1 for (task, _), deaths in self.deaths.items()):
            order["careful"] = (
                True  # of the items under work at once, the oldest is named: it may not be the one
            )
        try:
            worker.process.stdin.write(json.dumps(order).encode() + b"\n")
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: the end of its answers tells

    def _listen(self, worker: _Worker) -> None:
        """Take what a worker has said; the end of its pipe is its death."""
        assert worker.process.stdout is not None
        data = os.read(worker.process.stdout.fileno(), 1 << 16)
        *lines, worker.heard = (worker.heard + data).split(b"\n")
        for line in lines:
            self._take(worker, json.loads(line))
        if not data:
            self._bury(worker)

    def _take(self, worker: _Worker, answer: dict[str, Any]) -> None:
        self.fruitless = 0
        if "at" in answer:
            worker.at = answer["at"]
        elif "done" in answer:
            self.behind += max(0, worker.at)
            self._order(worker)
        else:
            task, worker.task = worker.task, None
            if "fault" in answer:
                raise UserError(answer["fault"])
            raise EngineError(
                f"task {task} met a bug; finished shards are kept, please report this:\n{answer['bug']}"
            )

    def _bury(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        self.selector.unregister(worker.process.stdout)
        self.workers.remove(worker)
        status = worker.process.wait()
        worker.process.stdout.close()
        if worker.process.stdin is not None:
            _close(worker.process.stdin)
        if self.stopped:
            raise EngineError("the build was stopped; run the same command again to continue")
        if worker.task is None:
            return
        if worker.at == _START:
            self.fruitless += 1
            if self.fruitless >= FRUITLESS:
                raise EngineError(_hopeless(f"{FRUITLESS} workers died at their start", _cause(status)))
        else:
            self.deaths[worker.task, worker.at] += 1
            if self.deaths[worker.task, worker.at] >= DEATHS:
                self._give_up(worker.task, worker.at, _cause(status))
        self.left.appendleft(worker.task)
        self._start()

    def _give_up(self, task: int, at: int, cause: str) -> None:
        from rsdata.plan import Plan

        if at >= Plan.open(self.out).info.shards[task].rows:
            raise EngineError(_hopeless(f"{DEATHS} workers died while they finished shard {task}", cause))
        self.skip[task][at] = f"killed its worker {DEATHS} times ({cause})"

    def stop(self) -> None:
        """End every worker and close what belongs to it."""
        self.kill()
        for worker in self.workers:
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    _close(pipe)
        self.selector.close()

    def kill(self) -> None:
        """Kill every worker and wait for it, so that none writes after we return.

        From any thread: what is under work in another one ends with an EngineError.
        """
        self.stopped = True
        workers = list(self.workers)
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.wait()


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
