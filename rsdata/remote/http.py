"""The one door to HTTP services: every call waits for the limiter, has a deadline and is tried again where that helps."""

from __future__ import annotations

import ipaddress
import time
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from rsdata.remote.limits import Limiter
from rsdata.remote.retry import NETWORK, Backoff, RemoteError, of_status, retrying
from shards.failures import FailureClass

CONNECT_S = 10.0
DEADLINE_S = 120.0
"""Of one call, from its turn to its last byte."""
MAX_BYTES = 64 << 20
"""More is not read; Earth Engine itself ends at 48 MiB."""
_PIECE = 1 << 20


class Client(requests.Session):
    """A session of `requests` that returns what is not worth another try and raises `RemoteError` for the rest.

    Answers come back whole. 4xx other than 408 and 429 are returned: what they mean is the caller's knowledge.
    """

    def __init__(
        self,
        endpoint: str,
        limiter: Limiter,
        *,
        backoff: Backoff = NETWORK,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        super().__init__()
        self.limiter, self.backoff, self.deadline_s = limiter, backoff, deadline_s
        self.trust_env = not is_loopback(endpoint)  # a proxy of the environment is not for this machine
        adapter = HTTPAdapter(pool_maxsize=limiter.concurrency)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        """As that of `requests`.

        Raises:
            RemoteError: it failed for the network or the service was busy, also after all tries.
        """
        return retrying(lambda: self._once(method, url, *args, **options), self.backoff)

    def _once(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:
        text = url.decode() if isinstance(url, bytes) else url
        host = urlsplit(text).netloc
        with self.limiter.call():
            end = time.monotonic() + self.deadline_s
            options |= {"stream": True, "timeout": (min(CONNECT_S, self.deadline_s), self.deadline_s)}
            try:
                response = super().request(method, url, *args, **options)
                with response:
                    response._content = content = _read(response, end)
                    # What `Response.content` sets itself; types-requests does not know it.
                    response._content_consumed = True  # type: ignore[attr-defined]
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                raise _lost(host, error) from None
        if response.status_code >= 400:
            fault = of_status(
                response.status_code, host, message_of(content), response.headers.get("Retry-After")
            )
            if fault.again:
                raise fault
        elif content[:64].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise RemoteError(
                FailureClass.INVALID, f"{host} answered with a web page, not with data", again=True
            )
        return response


def is_loopback(url: str) -> bool:
    """Whether a URL points at this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
    while piece := response.raw.read1(_PIECE, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise requests.exceptions.ContentDecodingError(f"more than {MAX_BYTES >> 20} MiB")
        if time.monotonic() > end:
            raise requests.exceptions.Timeout("its answer took too long")
    return b"".join(pieces)


def _lost(host: str, error: Exception) -> RemoteError:
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return RemoteError(FailureClass.TRANSIENT, f"{host} did not answer in time", again=True)
    if isinstance(error, (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError)):
        return RemoteError(FailureClass.INVALID, f"{host} sent an answer that cannot be read", again=True)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return RemoteError(FailureClass.REFUSED, f"{host or 'the endpoint'}: is not a URL that can be called")
    return RemoteError(FailureClass.TRANSIENT, f"{host} {_what(str(error))}", again=True)


def _what(error: str) -> str:
    """What happened to a connection; the libraries below tell it in words alone."""
    if "ProxyError" in error or "to proxy" in error:
        return "is not reached by the proxy of the environment"
    if "resolve" in error:
        return "is a name without an address"
    return "refuses connections" if "refused" in error else "cut the connection"
