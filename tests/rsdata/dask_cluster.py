"""A scheduler and workers of Dask as processes of their own, as somebody would start them on other hosts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

_QUIET = {"DASK_LOGGING__DISTRIBUTED": "critical", "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "false"}
_PLAIN = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}


class Cluster:
    """Ends with its block: the scheduler, the workers, and what they started."""

    def __init__(self, folder: Path, *, port: int = 0, **settings: str) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.env = os.environ | _QUIET | settings
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start_scheduler(port)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            _end(process)

    def start_scheduler(self, port: int = 0) -> None:
        """Known by its file as soon as it listens."""
        self.file.unlink(missing_ok=True)
        self.scheduler = self._dask(
            "scheduler", "--host", "127.0.0.1", "--port", str(port), "--scheduler-file", str(self.file),
            "--no-dashboard", "--dashboard-address", "127.0.0.1:0",
        )  # fmt: skip
        end = time.monotonic() + 60
        while not self.file.exists():
            assert time.monotonic() < end and self.scheduler.poll() is None, "the scheduler does not start"
            time.sleep(0.02)

    @property
    def address(self) -> str:
        import json

        while True:
            try:
                return str(json.loads(self.file.read_text())["address"])
            except ValueError:  # half written
                time.sleep(0.02)

    def start_worker(self) -> subprocess.Popen[bytes]:
        """A nanny, and under it a worker of one thread."""
        process = self._dask(
            "worker", self.address, "--nthreads", "1", "--memory-limit", "0", "--local-directory",
            str(self.folder / "scratch"), "--host", "127.0.0.1", "--death-timeout", "60", "--no-dashboard",
        )  # fmt: skip
        self.workers.append(process)
        return process

    def worker_processes(self) -> list[psutil.Process]:
        """The workers proper, not their nannies and not the processes of tasks."""
        found = []
        for nanny in self.workers:
            try:
                found += [
                    child
                    for child in psutil.Process(nanny.pid).children()
                    if "spawn_main" in " ".join(child.cmdline())
                ]
            except psutil.NoSuchProcess:
                continue
        return found

    def _dask(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "dask", *words], env=self.env, **_PLAIN)  # type: ignore[call-overload]


def slow_build(out: Path, address: str) -> subprocess.Popen[str]:
    """`rsdata build OUT --engine dask` whose tasks are slow and noted (see poison_task)."""
    script = (
        "import sys, rsdata.engines.dask as dask; from rsdata.cli import main; "
        "dask.run.__kwdefaults__['entry'] = 'poison_task:slow_and_noted'; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script, "build", str(out), "--engine", "dask", "--address", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def made_again(out: Path) -> int:
    """How many tasks were begun more than needed; a task that had ended was never begun again."""
    begun, ended = 0, set()
    for line in Path(f"{out}.notes").read_text().splitlines():
        what, k = line.split()
        assert k not in ended, f"shard {k} was made again after it was done"
        begun += what == "begin"
        ended |= {k} if what == "end" else set()
    return begun - len(ended)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        whole = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        whole = []
    for one in whole:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
