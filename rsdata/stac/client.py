"""One STAC API through `pystac-client`, and the host of its files: every call by the one door to HTTP."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

from pystac_client import Client as Api
from pystac_client.stac_api_io import StacApiIO

from rsdata.remote.http import DEADLINE_S, Client, is_loopback, message_of
from rsdata.remote.limits import limiter_of
from rsdata.remote.retry import ANSWERS, NETWORK, Backoff, RemoteError, of_status, retrying
from shards.errors import ConfigError
from shards.failures import FailureClass

EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
"""Sentinel-2 as COGs, open to everybody (Element 84 on AWS Open Data); the default endpoint."""
MOST_ITEMS = 200
"""Of one search; a point and a season have a few dozen at the most."""


class Service(Protocol):
    """What a catalogue needs to know; the options of a source have it."""

    @property
    def endpoint(self) -> str | None:
        """Base URL; None is Earth Search."""

    @property
    def threads(self) -> int:
        """Calls at once."""

    @property
    def rate(self) -> float | None:
        """Calls a second; None is no limit."""


class _Io(StacApiIO):
    """`pystac-client` asks and parses; the calls are ours, so its own retries and errors do not come up."""

    def __init__(self, http: Client, local: bool) -> None:
        super().__init__(max_retries=None)
        self.http, self.local = http, local

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        check_url(href, local=self.local)
        how = "json" if method == "POST" else "params"
        response = self.http.request(method or "GET", href, headers=headers, **{how: parameters})
        if response.status_code >= 300:
            raise of_status(
                max(response.status_code, 400), urlsplit(href).netloc, message_of(response.content)
            )
        return response.content.decode(errors="replace")


class Catalogue:
    """An open API: searches, and ranges of the files that its items name."""

    def __init__(self, api: Api, http: Client, endpoint: str) -> None:
        self.api, self.http, self.endpoint = api, http, endpoint
        self.host = urlsplit(endpoint).netloc
        self.local = is_loopback(endpoint)
        posts = (link.extra_fields.get("method") == "POST" for link in api.get_links("search"))
        self._method = "POST" if any(posts) else "GET"
        self._filters = api.conforms_to("QUERY")

    def search(
        self, collection: str, lon: float, lat: float, start: str, end: str, below: dict[str, float]
    ) -> list[dict[str, Any]]:
        """Items whose footprint holds a point, as they came.

        Args:
            collection: its id.
            lon: degrees.
            lat: degrees.
            start: first moment, RFC 3339.
            end: last moment.
            below: properties and their limits; left out where the API cannot filter, so look again.

        Raises:
            RemoteError: the service failed, or its answer is not a list of items.
        """
        found = self.api.search(
            method=self._method,
            collections=[collection],
            intersects={"type": "Point", "coordinates": [lon, lat]},
            datetime=f"{start}/{end}",
            query={name: {"lt": limit} for name, limit in below.items()} if self._filters and below else None,
            limit=100,
            max_items=MOST_ITEMS,
        )
        return retrying(lambda: _understood(self.host, lambda: list(found.items_as_dicts())), ANSWERS)

    def range(self, url: str, start: int, stop: int) -> tuple[bytes, int]:
        """The bytes [start, stop) of a file, fewer at its end, and the size of the file.

        Raises:
            RemoteError: it failed for the network, is not there, or is not to be read from here.
        """
        check_url(url, local=self.local)
        return retrying(lambda: self._range(url, start, stop), ANSWERS)

    def _range(self, url: str, start: int, stop: int) -> tuple[bytes, int]:
        host = urlsplit(url).netloc
        # A redirect could lead to where no item may point; hosts of files need none.
        response = self.http.request(
            "GET",
            url,
            headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"},
            allow_redirects=False,
        )
        if response.status_code >= 300:
            raise of_status(max(response.status_code, 400), host, message_of(response.content))
        data = response.content
        if response.status_code == 200:
            return data[start:stop], len(data)
        said = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if said:
            first, last, size = (int(number) for number in said.groups())
            if (first, last + 1) == (start, min(stop, size)) and len(data) == last + 1 - first:
                return data, size
        raise RemoteError(
            FailureClass.INVALID,
            f"{host} sent {len(data):,} bytes that are not the range asked for",
            again=True,
        )


def check_url(url: str, *, local: bool) -> None:
    """Whether a URL that a catalogue names may be called: https, and not into the networks behind us.

    Args:
        url: to be called.
        local: the catalogue is on this machine, so its files may be, too, and without TLS.

    Raises:
        RemoteError: `refused`.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        inside = _inside(host)
    except ValueError:
        inside = None  # a name that only a proxy knows, or nobody: the call will tell
    if inside == "loopback" and local and parts.scheme in ("http", "https"):
        return
    if parts.scheme != "https" or not host:
        raise RemoteError(
            FailureClass.REFUSED, f"{url[:200]}: only https is read from a catalogue on the network"
        )
    if inside:
        raise RemoteError(FailureClass.REFUSED, f"{url[:200]}: points into a {inside} network")


@lru_cache(maxsize=256)
def _inside(host: str) -> str | None:
    """`loopback` or `private` where one of a host's addresses is; None for the open network.

    Raises:
        ValueError: the name has no address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(str(error)) from None
    addresses = [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in found]
    if all(address.is_loopback for address in addresses):
        return "loopback"
    return None if all(address.is_global for address in addresses) else "private"


_opening = threading.Lock()
_open: dict[tuple[Any, ...], Catalogue] = {}


def open_catalogue(
    service: Service, *, backoff: Backoff = NETWORK, deadline_s: float = DEADLINE_S
) -> Catalogue:
    """The catalogue of a service; a process opens each once.

    Raises:
        ConfigError: the endpoint is no URL, nothing answers there, or it is not a STAC API.
    """
    endpoint = (service.endpoint or EARTH_SEARCH).rstrip("/")
    key = (endpoint, service.threads, service.rate, backoff, deadline_s)
    with _opening:
        if key not in _open:
            _open[key] = _connect(service, endpoint, backoff, deadline_s)
        return _open[key]


def _connect(service: Service, endpoint: str, backoff: Backoff, deadline_s: float) -> Catalogue:
    limiter = limiter_of(endpoint, service.threads, service.rate)
    http = Client(endpoint, limiter, backoff=backoff, deadline_s=deadline_s)
    host = urlsplit(endpoint).netloc
    try:
        io = _Io(http, is_loopback(endpoint))
        api = retrying(lambda: _understood(host, lambda: Api.open(endpoint, stac_io=io)), ANSWERS)
        if not api.conforms_to("ITEM_SEARCH"):
            raise RemoteError(FailureClass.INVALID, "it offers no item search")
    except RemoteError as error:
        raise ConfigError(
            f"{endpoint}: is not a STAC API that can be used ({error.reason}); check --endpoint, such as {EARTH_SEARCH}"
        ) from None
    return Catalogue(api, http, endpoint)


def _understood(host: str, call: Any) -> Any:
    """What a call of `pystac-client` answers; what it cannot parse becomes an error that says whose answer it was."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what an API does not conform to is asked for, not warned of
            return call()
    except RemoteError:
        raise
    except Exception as error:  # parsers of others meet whatever a server sends, and fail in many ways
        raise RemoteError(
            FailureClass.INVALID, f"{host} sent an answer that is not STAC ({error})"[:300], again=True
        ) from None
