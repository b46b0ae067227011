"""Public S3 buckets through `s3fs`, unsigned: what is in them, and ranges of objects.

A whole large object is brought by `files.download` from `url_of`: an unsigned GET of S3 is a plain GET.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote

from rsdata.remote.http import CONNECT_S, PIECE, STALL_S, is_loopback
from rsdata.remote.limits import limiter_of
from rsdata.remote.pace import paced
from rsdata.remote.reach import host_of
from rsdata.remote.retry import NETWORK, Backoff, RemoteError, of_status, retrying
from shards.errors import ConfigError
from shards.failures import FailureClass

T = TypeVar("T")

AWS = "https://s3.amazonaws.com"
LARGEST = 2 << 30
"""Bytes that are read of an object at once."""
CONCURRENCY = 32
"""Calls at once to one endpoint, over all processes of this user on this machine."""


def split(url: str) -> tuple[str, str]:
    """Bucket and key (or prefix, or nothing) of `s3://bucket/key`.

    Raises:
        ConfigError: it is not of this form.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket or "@" in bucket:
        raise ConfigError(f"{url}: is not of the form s3://bucket/key; correct it")
    return bucket, key


def url_of(url: str, endpoint: str | None = None) -> str:
    """The http address of `s3://bucket/key`.

    Args:
        url: of the object.
        endpoint: base URL of the service, with or without a path; None is AWS.

    Raises:
        ConfigError: not an S3 URL, or an endpoint without TLS that is not this machine.
    """
    bucket, key = split(url)
    path = quote(key, safe="/-_.~")
    if endpoint is None and "." not in bucket:
        return f"https://{bucket}.s3.amazonaws.com/{path}"
    return f"{check_endpoint(endpoint) or AWS}/{bucket}/{path}"


def check_endpoint(endpoint: str | None) -> str | None:
    """A base URL without the slash at its end.

    Raises:
        ConfigError: it is no URL, or one without TLS that is not this machine.
    """
    if endpoint is None:
        return None
    tls = endpoint.startswith("https://") or (endpoint.startswith("http://") and is_loopback(endpoint))
    if not tls or not host_of(endpoint):
        raise ConfigError(
            "endpoint: is no https URL of an S3 service; give one, or leave it out for that of AWS"
        )
    return endpoint.rstrip("/")


def list_objects(
    url: str, *, endpoint: str | None = None, backoff: Backoff = NETWORK
) -> Iterator[tuple[str, int]]:
    """Key and bytes of every object whose key begins as `s3://bucket/prefix` says, in the order of keys.

    Args:
        url: bucket and prefix; the prefix may be empty.
        endpoint: base URL of the service; None is AWS.
        backoff: between tries of a page of 1,000 keys.

    Raises:
        RemoteError: the bucket is not there or not to be read, or the network.
        ConfigError: the URL or the endpoint is none, or the extra `s3` is not installed.
    """
    bucket, prefix = split(url)
    service = _service(endpoint)
    more: dict[str, str] = {}
    while True:
        page = service.page(bucket, prefix, more, backoff)
        for row in page.get("Contents", ()):
            yield row["Key"], row["Size"]
        token = page.get("NextContinuationToken")
        if not page.get("IsTruncated") or not token:
            return
        more = {"ContinuationToken": token}


def read_object(
    url: str,
    *,
    endpoint: str | None = None,
    start: int = 0,
    stop: int | None = None,
    backoff: Backoff = NETWORK,
) -> bytes:
    """The bytes [start, stop) of an object, fewer at its end.

    Args:
        url: `s3://bucket/key`.
        endpoint: base URL of the service; None is AWS.
        start: first byte.
        stop: byte after the last; None is the end.
        backoff: between tries.

    Raises:
        RemoteError: gone, refused, or the network.
        ConfigError: the URL or the endpoint is none, or the extra `s3` is not installed.
    """
    bucket, key = split(url)
    if not key or start < 0 or (stop is not None and stop <= start):
        raise ConfigError(f"{url}: bytes {start} to {stop} of it cannot be read; name an object and a range")
    return _service(endpoint).read(bucket, key, start, stop, backoff)


class _Service:
    """One S3 service; safe for threads."""

    def __init__(self, endpoint: str | None) -> None:
        try:
            from s3fs import S3FileSystem
        except ImportError:
            raise ConfigError(
                "reading from S3 needs the extra s3; install it: pip install 'rspretrain[s3]'"
            ) from None
        self.host = host_of(endpoint or AWS)
        self.limiter = limiter_of(endpoint or AWS, CONCURRENCY)
        self.fs = S3FileSystem(
            anon=True,
            endpoint_url=endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "connect_timeout": CONNECT_S,
                "read_timeout": STALL_S,
                "max_pool_connections": CONCURRENCY,
                "retries": {"total_max_attempts": 1},  # the retries are ours
                "s3": {"addressing_style": "path"} if endpoint else {},
            },
        )
        self.fs.retries = 1

    def page(self, bucket: str, prefix: str, more: dict[str, str], backoff: Backoff) -> dict[str, Any]:
        """Up to 1,000 keys."""

        def ask() -> dict[str, Any]:
            found: dict[str, Any] = self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **more)
            return found

        return self._call(ask, f"s3://{bucket}/{prefix}", backoff)

    def read(self, bucket: str, key: str, start: int, stop: int | None, backoff: Backoff) -> bytes:
        """A range of an object."""
        ranged = (
            {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
            if (start, stop) != (0, None)
            else {}
        )

        def ask() -> bytes:
            from fsspec.asyn import sync

            answer = self.fs.call_s3("get_object", Bucket=bucket, Key=key, **ranged)
            if answer["ContentLength"] > LARGEST:
                raise RemoteError(
                    FailureClass.REFUSED,
                    f"s3://{bucket}/{key}: {answer['ContentLength']:,} bytes are too many at once",
                )
            body = answer["Body"]
            try:  # a large object on a slow line may take long, as long as it keeps coming
                data = b"".join(
                    paced(lambda: sync(self.fs.loop, body.read, PIECE, timeout=STALL_S), self.host, STALL_S)
                )
            finally:
                body.close()
            if len(data) != answer["ContentLength"]:
                raise RemoteError(FailureClass.TRANSIENT, f"{self.host} cut the connection", again=True)
            return data

        return self._call(ask, f"s3://{bucket}/{key}", backoff)

    def _call(self, ask: Callable[[], T], url: str, backoff: Backoff) -> T:
        def once() -> T:
            with self.limiter.call():
                try:
                    return ask()
                except RemoteError:
                    raise
                except Exception as error:  # three libraries below, each with errors of its own
                    raise self._fault(error, url) from None

        return retrying(once, backoff)

    def _fault(self, error: Exception, url: str) -> RemoteError:
        """What an error of s3fs, botocore or aiohttp means."""
        from botocore.exceptions import ClientError, ParamValidationError
        from botocore.parsers import ResponseParserError

        cause = error if isinstance(error, ClientError) else error.__cause__
        if isinstance(cause, ClientError):
            said = cause.response.get("ResponseMetadata", {})
            status, headers = said.get("HTTPStatusCode", 500), said.get("HTTPHeaders", {})
            message = cause.response.get("Error", {}).get("Message", "")
            fault = of_status(
                max(status, 400), self.host, f"{message[:200]} ({url})", headers.get("retry-after")
            )
            return fault
        if isinstance(error, ParamValidationError):
            return RemoteError(FailureClass.REFUSED, f"{url}: {' '.join(str(error).split())[:200]}")
        if isinstance(error, ResponseParserError):
            return RemoteError(
                FailureClass.INVALID, f"{self.host} sent an answer that cannot be read", again=True
            )
        what = (
            "did not answer in time"
            if "imeout" in type(error).__name__
            else "cut the connection or is not there"
        )
        return RemoteError(FailureClass.TRANSIENT, f"{self.host} {what} ({url})", again=True)


_opening = threading.Lock()
_open: dict[str | None, _Service] = {}


def _service(endpoint: str | None) -> _Service:
    endpoint = check_endpoint(endpoint)
    with _opening:
        if endpoint not in _open:
            _open[endpoint] = _Service(endpoint)
        return _open[endpoint]
