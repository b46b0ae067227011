"""The one door to HTTP services: every call waits for the limiter, has a deadline and is tried again where that helps."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import requests
import urllib3

from rsdata.remote.limits import Limiter, limiter_of
from rsdata.remote.pace import paced
from rsdata.remote.reach import REDIRECTS, Reach, ReachAdapter, host_of
from rsdata.remote.retry import NETWORK, Backoff, RemoteError, of_status, retrying
from shards.failures import FailureClass

CONNECT_S = 10.0
DEADLINE_S = 120.0
"""Of one call, from its turn to its last byte."""
STALL_S = 60.0
"""Of a stream: so long without a byte, or slower than `pace.SLOWEST`, and it is lost."""
MAX_BYTES = 64 << 20
"""More is not read at once; Earth Engine itself ends at 48 MiB."""
PIECE = 1 << 20
_LOSSES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class Client(requests.Session):
    """A session of `requests` that returns what is not worth another try and raises `RemoteError` for the rest.

    Answers come back whole; `open` is for what is larger. 4xx other than 408 and 429 are returned: what they mean is
    the caller's knowledge. At most five redirects are followed, none of them to where a call may not lead (`Reach`).
    """

    def __init__(
        self,
        endpoint: str,
        limiter: Limiter,
        *,
        backoff: Backoff = NETWORK,
        deadline_s: float = DEADLINE_S,
        allow: Collection[str] | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            endpoint: URL of the service.
            limiter: of the service.
            backoff: between tries.
            deadline_s: of one call.
            allow: `host:port` of everything in closed networks (this machine, private ranges) that may be called;
                None: all of the network in which the endpoint is.
        """
        super().__init__()
        self.limiter, self.backoff, self.deadline_s = limiter, backoff, deadline_s
        self.trust_env = not is_loopback(endpoint)  # a proxy of the environment is not for this machine
        self.reach = Reach(endpoint, allow)
        adapter = ReachAdapter(self.reach, limiter.concurrency)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """As that of `requests`.

        Raises:
            RemoteError: it failed for the network or the service was busy, also after all tries; it leads where no
                call may.
        """
        return retrying(lambda: self._once(method, url, *args, **options), self.backoff)

    @contextmanager
    def open(
        self, url: str, headers: dict[str, str], *, stall_s: float = STALL_S
    ) -> Iterator[tuple[requests.Response, Iterator[bytes]]]:
        """One try of a GET whose body is read piece by piece, without a deadline for the whole of it.

        Args:
            url: to get.
            headers: of the request.
            stall_s: longest wait for the next byte, and longest time slower than `pace.SLOWEST`.

        Yields:
            The answer, of status 206, 200, 304 or 416 or another below 400, and the pieces of its body as they were sent.

        Raises:
            RemoteError: it failed; the caller decides when to try again.
        """
        timeout = (min(CONNECT_S, stall_s), stall_s)
        with self.limiter.call():
            response = self._follow("GET", url, headers=headers, timeout=timeout)
            host = host_of(response.url)
            try:
                if response.status_code >= 400 and response.status_code != 416:
                    raise self._fault(response, next(_pieces(response, host, stall_s), b""))
                yield response, _pieces(response, host, stall_s)
            finally:
                response.close()

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        """None: they are followed here, where each is looked at before it is called."""
        return iter(())

    def _once(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        text = url.decode() if isinstance(url, bytes) else url
        with self.limiter.call():
            end = time.monotonic() + self.deadline_s
            options["timeout"] = (min(CONNECT_S, self.deadline_s), self.deadline_s)
            with self._follow(method, text, *args, **options) as response:
                try:
                    response._content = content = _read(response, end)
                except _LOSSES as error:
                    raise _lost(host_of(response.url), error) from None
                # What `Response.content` sets itself; types-requests does not know it.
                response._content_consumed = True  # type: ignore[attr-defined]
        if response.status_code >= 400:
            fault = self._fault(response, content)
            if fault.again:
                raise fault
        elif is_page(content):
            raise page_error(host_of(response.url))
        return response

    def _follow(self, method: str | bytes, url: str, *args: Any, **options: Any) -> requests.Response:
        """The answer to a call, its body still to be read, after all redirects.

        Raises:
            RemoteError: no answer, or one that leads on for ever or to where no call may.
        """
        verb = (method.decode() if isinstance(method, bytes) else method).upper()
        followed = options.pop("allow_redirects", True)
        options |= {"stream": True, "allow_redirects": False}
        before = None
        for _ in range(REDIRECTS + 1):
            self.reach.check(url, before)
            try:
                response = super().request(verb, url, *args, **options)
                target = self.get_redirect_target(response) if followed else None
            except _LOSSES as error:
                raise _lost(host_of(url), error) from None
            if target is None:
                return response
            response.close()
            before, url = url, urldefrag(urljoin(response.url, target))[0]
            if response.status_code == 303 or (response.status_code in (301, 302) and verb == "POST"):
                verb, args = "GET", ()
                options |= {"data": None, "json": None, "files": None}
            options["params"] = None  # the target says all that it needs
            if self.should_strip_auth(before, url):  # type: ignore[no-untyped-call]  # the stubs leave it out
                secret = ("authorization", "cookie")
                given = options.get("headers") or {}
                options["headers"] = {k: v for k, v in given.items() if k.lower() not in secret}
                options["auth"] = None
        raise RemoteError(
            FailureClass.REFUSED, f"{host_of(before or url)} redirects more than {REDIRECTS} times"
        )

    def _fault(self, response: requests.Response, content: bytes) -> RemoteError:
        wait = response.headers.get("Retry-After")
        return of_status(response.status_code, host_of(response.url), message_of(content), wait)


_opening = threading.Lock()
_open: dict[tuple[Any, ...], Client] = {}


def client_for(url: str, *, concurrency: int = 8, rate: float | None = None) -> Client:
    """The client of the host of a URL, with a limiter for that host alone; a process makes each once.

    Args:
        url: any of that host.
        concurrency: calls at once, over all processes of this user on this machine.
        rate: calls a second, likewise; None is no limit.
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{host_of(url)}"
    key = (origin, concurrency, rate)
    with _opening:
        if key not in _open:
            _open[key] = Client(origin, limiter_of(origin, concurrency, rate))
        return _open[key]


def is_loopback(url: str) -> bool:
    """Whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_page(content: bytes) -> bool:
    """Whether an answer begins as a web page does: a log-in, an apology."""
    return content[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def page_error(host: str) -> RemoteError:
    """A web page where data were expected."""
    return RemoteError(FailureClass.INVALID, f"{host} answered with a web page, not with data", again=True)


def message_of(content: bytes) -> str:
    """What an error answer says, on one line of at most 200 characters."""
    import json

    try:
        found = json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        found = "" if content.lstrip().startswith(b"<") else content[:400].decode(errors="replace")
    return " ".join(str(found).split())[:200]


def _read(response: requests.Response, end: float) -> bytes:
    """The whole body, as long as it keeps coming before the deadline."""
    pieces, size = [], 0
    while piece := response.raw.read1(PIECE, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise requests.exceptions.ContentDecodingError(f"more than {MAX_BYTES >> 20} MiB")
        if time.monotonic() > end:
            raise requests.exceptions.Timeout("its answer took too long")
    return b"".join(pieces)


def _pieces(response: requests.Response, host: str, stall_s: float) -> Iterator[bytes]:
    """A body as it was sent, not decoded; its losses are ours, those of the reader are not."""

    def read() -> bytes:
        try:
            piece: bytes = response.raw.read1(PIECE, decode_content=False)
            return piece
        except _LOSSES as error:
            raise _lost(host, error) from None

    return paced(read, host, stall_s)


def _lost(host: str, error: Exception) -> RemoteError:
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return RemoteError(FailureClass.TRANSIENT, f"{host} did not answer in time", again=True)
    if isinstance(error, (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError)):
        return RemoteError(FailureClass.INVALID, f"{host} sent an answer that cannot be read", again=True)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return RemoteError(FailureClass.REFUSED, f"{host or 'the endpoint'}: is not a URL that can be called")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return RemoteError(FailureClass.REFUSED, f"{host} has a certificate that is not to be trusted")
    return RemoteError(FailureClass.TRANSIENT, f"{host} {_what(str(error))}", again=True)


def _what(error: str) -> str:
    """What happened to a connection; the libraries below tell it in words alone."""
    if "ProxyError" in error or "to proxy" in error:
        return "is not reached by the proxy of the environment"
    if "resolve" in error:
        return "is a name without an address"
    return "refuses connections" if "refused" in error else "cut the connection"
