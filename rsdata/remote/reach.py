"""Where a call may lead: the open network, and no network behind us unless it was named.

Lists of URLs and redirects are written by others. Names are looked up before a call, and the address of the connected
socket is looked at once more before a byte is sent, for a name may mean something else a moment later.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from rsdata.remote.retry import RemoteError
from shards.failures import FailureClass

OPEN = "open"
REDIRECTS = 5
"""That one call follows at the most."""


class Reach:
    """What may be called from an endpoint: the open network, and that which the endpoint itself is in."""

    def __init__(self, endpoint: str, allow: Collection[str] | None = None) -> None:
        """Look up where the endpoint is.

        Args:
            endpoint: URL of the service.
            allow: `host:port` of everything in closed networks that may be called; None: all of the endpoint's.
        """
        self._allow = allow
        self._scopes = {OPEN, *(() if allow is not None else scopes_of(urlsplit(endpoint).hostname or ""))}

    def check(self, url: str, before: str | None = None) -> None:
        """See that a URL may be called.

        Args:
            url: to be called.
            before: the URL that redirected to it.

        Raises:
            RemoteError: `refused`.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise _refused(url, before, "is not a URL that can be called")
        if before is not None and before.startswith("https:") and parts.scheme == "http":
            raise _refused(url, before, "is without TLS")
        for scope in scopes_of(parts.hostname):
            if not self._permits(scope, host_of(url), _port(url)):
                raise _refused(url, before, f"is in a {scope} network")

    def check_peer(self, host: str, port: int, address: str) -> None:
        """See that a connection leads where it may.

        Raises:
            RemoteError: `refused`.
        """
        scope = _scope(address)
        if not self._permits(scope, f"{host}:{port}", port):
            raise RemoteError(FailureClass.REFUSED, f"{host} is {address} now, which is in a {scope} network")

    def _permits(self, scope: str, host: str, port: int) -> bool:
        named = host if ":" in host.rpartition("]")[2] else f"{host}:{port}"
        return scope in self._scopes or (self._allow is not None and named in self._allow)


class ReachAdapter(HTTPAdapter):
    """Connections that look whom they reached; those to a proxy do not, as the proxy is the user's choice."""

    def __init__(self, reach: Reach, pool_maxsize: int) -> None:
        self._reach = reach
        super().__init__(pool_maxsize=pool_maxsize)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """As that of `requests`, with connections of our own."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _pools(self._reach)


def _pools(reach: Reach) -> dict[str, Any]:
    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(self, super()._new_conn(), reach)

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _checked(self, super()._new_conn(), reach)

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _checked(connection: HTTPConnection, found: socket.socket, reach: Reach) -> socket.socket:
    try:
        reach.check_peer(connection.host, connection.port, str(found.getpeername()[0]))
    except (RemoteError, OSError):
        found.close()
        raise
    return found


@lru_cache(maxsize=1024)
def scopes_of(host: str) -> frozenset[str]:
    """The networks in which the addresses of a host lie; none where it is a name without an address.

    Such a name is one that only a proxy knows, or nobody: the call will tell.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(_scope(str(row[4][0])) for row in found)


def _scope(address: str) -> str:
    """`loopback`, `link-local`, `private` (or otherwise not for the open network), `open`."""
    number = ipaddress.ip_address(address.partition("%")[0])
    number = getattr(number, "ipv4_mapped", None) or number
    if number.is_loopback:
        return "loopback"
    if number.is_link_local:
        return "link-local"
    return OPEN if number.is_global and not number.is_multicast else "private"


def host_of(url: str) -> str:
    """`host` or `host:port` of a URL, for messages: without the name and password that may stand before it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def shown(url: str) -> str:
    """A URL for messages, at most 200 characters: without password and query, which may be secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, host_of(url), parts.path, "", ""))[:200]


def _port(url: str) -> int:
    parts = urlsplit(url)
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise RemoteError(FailureClass.REFUSED, f"{shown(url)}: is not a URL that can be called") from None


def _refused(url: str, before: str | None, why: str) -> RemoteError:
    if before is None:
        return RemoteError(FailureClass.REFUSED, f"{shown(url)}: is not called, for it {why}")
    return RemoteError(FailureClass.REFUSED, f"{host_of(before)} redirects to {shown(url)}, which {why}")
