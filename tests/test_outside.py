"""The guard bites: in this process, in programs that are started, and at what a client would try again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from outside import Notes, OutsideError, settled

pytestmark = pytest.mark.skipif("config.getoption('--online')", reason="--online takes the guard away")
ELSEWHERE = "192.0.2.1"
"""Of the block for documentation: nobody has it."""


def test_a_socket_to_elsewhere_is_refused_and_noted(outside: Notes) -> None:
    with socket.socket() as plain, pytest.raises(OutsideError):
        plain.connect((ELSEWHERE, 443))
    with pytest.raises(OSError, match="no name is looked up"):
        socket.create_connection(("example.com", 443))
    assert settled(outside) == [f"a connection to {ELSEWHERE}:443"]


def test_a_client_that_swallows_the_error_is_noted(outside: Notes) -> None:
    session = requests.Session()
    session.trust_env = False
    with pytest.raises(requests.ConnectionError):
        session.get(f"http://{ELSEWHERE}/", timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.get("https://example.com/", timeout=5)
    first, second = settled(outside)
    assert first == f"a connection to {ELSEWHERE}:80"
    assert "CONNECT example.com:443" in second


def test_a_program_that_reaches_out_is_noted(outside: Notes) -> None:
    code = "import urllib.request; urllib.request.urlopen('http://example.com/x', timeout=5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert settled(outside) == ["a request through the proxy: GET http://example.com/x HTTP/1.1"]


def test_this_machine_is_reached(outside: Notes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        with socket.create_connection(("localhost", server.getsockname()[1])):
            assert not outside


def test_a_test_that_reaches_out_fails(tmp_path: Path) -> None:
    for name in ("outside.py", "conftest.py"):
        shutil.copy(Path(__file__).with_name(name), tmp_path)
    (tmp_path / "test_two.py").write_text(f"""
import contextlib, socket

def test_good():
    assert True

def test_bad():
    with socket.socket() as plain, contextlib.suppress(OSError):
        plain.connect(({ELSEWHERE!r}, 443))
""")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "2 passed, 1 error" in done.stdout, done.stdout
    assert f"reached beyond this machine: a connection to {ELSEWHERE}:443" in done.stdout
