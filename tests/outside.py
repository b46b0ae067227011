"""No test reaches beyond this machine: neither its own code nor a program that it starts.

In this process sockets refuse to. Programs get a proxy for everything that is not loopback, and it only takes notes.
Notes are kept rather than errors raised alone: a client that tries again would hide the error.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

Notes = list[str]
_LOCAL = ("localhost", "127.0.0.1", "::1")


class OutsideError(OSError):
    """What a guarded socket raises."""


@contextmanager
def guarded(patch: pytest.MonkeyPatch) -> Iterator[Notes]:
    """While the block runs, nothing connects outside; what tried to is noted."""
    notes: Notes = []
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, _only_inside(getattr(socket.socket, name), notes))
    patch.setattr(socket, "getaddrinfo", _no_names(socket.getaddrinfo))
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=_note, args=(proxy, notes), daemon=True).start()
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.setenv(name, address)
            patch.setenv(name.upper(), address)
        patch.setenv("no_proxy", ",".join(_LOCAL))
        patch.setenv("NO_PROXY", ",".join(_LOCAL))
        yield notes


def is_inside(host: str) -> bool:
    """Whether a name or an address is of this machine."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host in ("", *_LOCAL, socket.gethostname())
    return address.is_loopback or address.is_unspecified


def _only_inside(connect: Callable[..., Any], notes: Notes) -> Callable[..., Any]:
    def guard(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_inside(str(address[0])):
            notes.append(f"a connection to {address[0]}:{address[1]}")
            raise OutsideError(notes[-1])
        return connect(self, address)

    return guard


def _no_names(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """Names are unknown, as on a machine without a network, so a test does the same with and without one."""

    def guard(host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host or ""
        try:
            ipaddress.ip_address(name.partition("%")[0])
        except ValueError:
            if not is_inside(name):
                raise socket.gaierror(socket.EAI_NONAME, f"{name}: no name is looked up in tests") from None
        return resolve(host, *args, **options)

    return guard


def _note(proxy: socket.socket, notes: Notes) -> None:
    """Take the first line of each request and answer nothing."""
    while True:
        try:
            connection, _ = proxy.accept()
        except OSError:  # the end of the session
            return
        with connection:
            connection.settimeout(1)
            try:
                line = connection.recv(200).split(b"\r\n")[0].decode(errors="replace")
            except OSError:
                line = "nothing"
            notes.append(f"a request through the proxy: {line}")


def settled(notes: Notes) -> Notes:
    """The notes so far, taken away."""
    found = list(notes)
    del notes[: len(found)]
    return found
