"""The limiter between threads and processes, and which failures are tried again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rsdata.remote.http import Client, is_loopback
from rsdata.remote.limits import Limiter
from rsdata.remote.retry import Backoff, RemoteError, parse_retry_after, retrying
from shards.errors import ConfigError
from shards.failures import FailureClass

QUICK = Backoff(attempts=4, base_s=0.001, total_s=20)

HOLD = """
import sys, time
from pathlib import Path
from rsdata.remote.limits import Limiter

limiter = Limiter(Path(sys.argv[1]), int(sys.argv[2]))
with limiter.call():
    print("held", flush=True)
    time.sleep(60)
"""

COUNT = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from rsdata.remote.limits import Limiter

limiter = Limiter(Path(sys.argv[1]), 3, float(sys.argv[2]) or None)
def call(_):
    with limiter.call():
        start = time.monotonic()
        time.sleep(0.02)
        return start, time.monotonic()
with ThreadPoolExecutor(6) as pool:
    for start, end in pool.map(call, range(20)):
        print(start, end)
"""


def most_at_once(spans: list[tuple[float, float]]) -> int:
    edges = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    now = most = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


def run_counters(folder: Path, rate: float) -> list[list[tuple[float, float]]]:
    command = [sys.executable, "-c", COUNT, str(folder), str(rate)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    return [[(float(a), float(b)) for a, b in map(str.split, out.splitlines())] for out in outputs]


def test_threads_never_exceed_the_limit_and_use_all_of_it(tmp_path: Path) -> None:
    limiter = Limiter(tmp_path / "limits", 4)
    spans = []

    def call(_: int) -> None:
        with limiter.call():
            start = time.monotonic()
            time.sleep(0.01)
            spans.append((start, time.monotonic()))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(call, range(80)))
    assert len(spans) == 80
    assert most_at_once(spans) == 4


def test_processes_share_one_limit_and_none_starves(tmp_path: Path) -> None:
    found = run_counters(tmp_path / "limits", 0)
    assert [len(spans) for spans in found] == [20, 20, 20]
    assert most_at_once([span for spans in found for span in spans]) <= 3
    starts = [min(start for start, _ in spans) for spans in found]
    ends = [max(end for _, end in spans) for spans in found]
    overlap = min(ends) - max(starts)
    if overlap > 0.1:  # while all three were at work, each had its turn
        for spans in found:
            assert sum(max(starts) <= start <= min(ends) for start, _ in spans) >= 2


def test_processes_share_one_rate(tmp_path: Path) -> None:
    found = run_counters(tmp_path / "limits", 50)
    starts = sorted(start for spans in found for start, _ in spans)
    for first, last in zip(starts, starts[25:], strict=False):
        assert last - first >= (25 - 5) / 50 - 0.06, "the rate is that of all processes together"


def test_a_killed_holder_frees_its_slot(tmp_path: Path) -> None:
    folder = tmp_path / "limits"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), "1"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    limiter, entered = Limiter(folder, 1), threading.Event()

    def enter() -> None:
        with limiter.call():
            entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert entered.wait(5)
    thread.join()
    process.stdout.close()


def test_a_limit_that_lets_nothing_through_is_refused(tmp_path: Path) -> None:
    for concurrency, rate in ((0, None), (1, 0.0), (1, float("inf"))):
        with pytest.raises(ConfigError, match="give positive numbers"):
            Limiter(tmp_path, concurrency, rate)


@contextmanager
def server(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[float]]]:
    """Gives the answers one after another, the last one for ever; status 0 hangs up, -1 drips for ever."""
    seen: list[float] = []
    ports: set[int] = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append(time.monotonic())
            status, headers, body = answers[min(len(seen), len(answers)) - 1]
            ports.add(self.client_address[1])
            if self.path == "/ports":
                body = str(len(ports)).encode()
            if status == 0:
                self.close_connection = True
                return
            self.send_response(max(200, status))
            self.send_header("Content-Length", headers.pop("Length", str(len(body))))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if status == -1:
                self.close_connection = True
                for _ in range(200):
                    try:
                        self.wfile.write(b"x")
                    except OSError:
                        return
                    time.sleep(0.05)
                return
            self.wfile.write(body)
            self.close_connection = "Cut" in headers

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/", seen
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def client(tmp_path: Path, url: str, *, backoff: Backoff = QUICK, deadline_s: float = 5.0) -> Client:
    return Client(url, Limiter(tmp_path / "limits", 2), backoff=backoff, deadline_s=deadline_s)


@pytest.mark.parametrize(
    "bad",
    [
        (429, {"Retry-After": "0"}, b"{}"),
        (500, {}, b"{}"),
        (503, {}, b""),
        (0, {}, b""),
        (200, {"Length": "100", "Cut": "1"}, b"half"),
        (200, {}, b"<!DOCTYPE html><html>Please sign in</html>"),
    ],
    ids=["429", "500", "503", "hangs up", "cut", "html"],
)
def test_passing_faults_are_absorbed(tmp_path: Path, bad: tuple[int, dict[str, str], bytes]) -> None:
    status, headers, body = bad
    with server((status, dict(headers), body), (status, dict(headers), body), (200, {}, b"good")) as (
        url,
        seen,
    ):
        assert client(tmp_path, url).get(url).content == b"good"
        assert len(seen) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_would_fail_again_is_asked_once(tmp_path: Path, status: int) -> None:
    with server((status, {}, b'{"error": {"message": "User memory limit exceeded."}}')) as (url, seen):
        assert client(tmp_path, url).get(url).status_code == status
        assert len(seen) == 1


def test_a_lasting_fault_ends_after_the_attempts(tmp_path: Path) -> None:
    with server((500, {}, b'{"error": {"message": "broken"}}')) as (url, seen):
        with pytest.raises(RemoteError, match="answered 500: broken") as caught:
            client(tmp_path, url).get(url)
        assert len(seen) == QUICK.attempts
    assert caught.value.kind is FailureClass.TRANSIENT
    assert not caught.value.again


def test_retry_after_is_respected(tmp_path: Path) -> None:
    with server((429, {"Retry-After": "0.5"}, b"{}"), (200, {}, b"good")) as (url, seen):
        assert client(tmp_path, url).get(url).content == b"good"
        assert seen[1] - seen[0] >= 0.5
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert 25 < (parse_retry_after(format_datetime(soon)) or 0) <= 30
    assert parse_retry_after("nonsense") is parse_retry_after(None) is None


def test_a_longer_wait_than_is_allowed_ends_at_once(tmp_path: Path) -> None:
    with server((429, {"Retry-After": "3600"}, b"{}")) as (url, seen):
        with pytest.raises(RemoteError, match="429"):
            client(tmp_path, url).get(url)
        assert len(seen) == 1


def test_an_answer_that_drips_ends_at_the_deadline(tmp_path: Path) -> None:
    with server((-1, {"Length": "1000"}, b"")) as (url, _):
        start = time.monotonic()
        with pytest.raises(RemoteError, match="did not answer in time"):
            client(tmp_path, url, backoff=Backoff(attempts=1), deadline_s=0.4).get(url)
        assert time.monotonic() - start < 3


def test_nobody_listens(tmp_path: Path) -> None:
    with server((200, {}, b"")) as (url, _):
        pass
    with pytest.raises(RemoteError, match="refuses connections") as caught:
        client(tmp_path, url).get(url)
    assert caught.value.kind is FailureClass.TRANSIENT


def test_a_slot_is_not_held_while_waiting_for_the_next_try(tmp_path: Path) -> None:
    limiter = Limiter(tmp_path / "limits", 1)
    free = []

    def call() -> None:
        with limiter.call():
            if len(free) < 2:
                raise RemoteError(FailureClass.TRANSIENT, "busy", again=True)

    class Watch(Backoff):
        def wait_s(self, failures: int, after_s: float | None) -> float:
            with limiter.call():
                free.append(failures)
            return 0.0

    retrying(call, Watch(attempts=5))
    assert free == [1, 2]


def test_connections_are_kept_and_a_proxy_is_not_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with server((200, {}, b"good")) as (url, _):
        session = client(tmp_path, url)
        for _ in range(5):
            assert session.get(url).content == b"good"
        assert session.get(f"{url}ports").content == b"1"
    assert is_loopback("http://localhost:1") and is_loopback("http://[::1]:1")
    assert not is_loopback("https://earthengine.googleapis.com")
