"""Images of Flickr's hosts, without the pictures that stand for photos which are no longer there.

Those come with status 200: by a redirect to `…/photo_unavailable….png` (or .gif), or in place of the photo itself. All
sizes that Flickr makes are JPEG, so a PNG or GIF under the name of a JPEG is one of them, too.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection
from typing import Any, Protocol
from urllib.parse import urlsplit

from rsdata.flickr.ids import Photo
from rsdata.images import Image
from rsdata.remote.http import Client
from rsdata.remote.limits import limiter_of
from rsdata.remote.retry import Backoff, RemoteError, of_status
from rsdata.sources.base import FetchError
from shards.codec import decode_jpeg, encode_jpeg
from shards.failures import FailureClass

_HOSTS = "https://live.staticflickr.com"
_UNAVAILABLE = "photo_unavailable"
_BACKOFF = Backoff(attempts=6, total_s=120.0)
"""A photo among millions is not waited for as long as a service is; `rsdata retry` comes back to it."""
_SMALLEST = 1000
"""Bytes: what is less is no photo (the published downloader has the same bound)."""


class Service(Protocol):
    """What an image host needs to know; the options of a source have it."""

    @property
    def endpoint(self) -> str | None:
        """Base URL; None is Flickr."""

    @property
    def threads(self) -> int:
        """Images at once."""

    @property
    def image_rate(self) -> float | None:
        """Images a second; None is no limit."""


class Images:
    """The image hosts; every call waits for one limiter of this machine."""

    def __init__(self, service: Service) -> None:
        self._base = service.endpoint.rstrip("/") if service.endpoint else None
        home = self._base or _HOSTS
        limiter = limiter_of(f"{home} images", service.threads, service.image_rate)
        # Nothing in closed networks but the endpoint itself, where that is there: redirects are written by others.
        parts = urlsplit(home)
        self._served = parts.netloc
        allow = {f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"}
        self._http = Client(home, limiter, backoff=_BACKOFF, allow=allow)

    def read(self, photo: Photo, placeholders: Collection[str] = ()) -> tuple[bytes, str]:
        """The file of a photo and the URL that it came from.

        Where Flickr serves it today is asked first: that is one host with TLS, while the hosts of old lists are many and
        plain. What is gone there is looked for where the list has it.

        Args:
            photo: with the path or URL of its image.
            placeholders: sha256 of pictures that stand for missing photos, beside those known by where they lie.

        Raises:
            FetchError: `gone`, `invalid` (no image), `refused` (leads where it may not), `transient`.
        """
        urls = list(dict.fromkeys(url for url in (photo.live_url, photo.url) if url))
        gone: FetchError | None = None
        for url in urls:
            try:
                return self._read(url, placeholders), url
            except FetchError as error:
                if error.kind is not FailureClass.GONE:
                    raise
                gone = gone or error
        assert gone is not None
        raise gone

    def _read(self, url: str, placeholders: Collection[str]) -> bytes:
        host = urlsplit(url).netloc
        try:
            response = self._http.get(self._address(url))
            if response.status_code >= 300:
                raise of_status(max(response.status_code, 400), host, "")
        except RemoteError as error:  # a message says which host of Flickr it was, wherever that is served
            reason = error.reason.replace(self._served, host) if self._base else error.reason
            raise FetchError(error.kind, reason) from None
        data = response.content
        if _UNAVAILABLE in response.url or _foreign(url, data):
            raise FetchError(FailureClass.GONE, f"{host} shows its picture for photos that are not available")
        if hashlib.sha256(data).hexdigest() in placeholders:
            raise FetchError(FailureClass.GONE, f"{host} shows a picture that --placeholder names")
        if len(data) < _SMALLEST:
            raise FetchError(FailureClass.INVALID, f"{host} sent {len(data)} bytes, which are no photo")
        return data

    def _address(self, url: str) -> str:
        """A URL at the endpoint, where one is given: `ENDPOINT/photos/HOST/PATH`."""
        if self._base is None:
            return url
        parts = urlsplit(url)
        return f"{self._base}/photos/{parts.netloc}{parts.path}"


def _foreign(url: str, data: bytes) -> bool:
    """Whether a JPEG was asked for and a PNG or GIF came."""
    path = urlsplit(url).path.lower()
    return path.endswith((".jpg", ".jpeg")) and data.startswith((b"\x89PNG", b"GIF8"))


def squashed(image: Image, side: int) -> Image:
    """A square of this side whatever the shape, as the published downloader made them; JPEG, quality 95."""
    import numpy as np
    from PIL import Image as Pillow

    small = Pillow.fromarray(image.pixels).resize((side, side), Pillow.Resampling.BICUBIC)
    data = encode_jpeg(np.asarray(small))
    return Image(data, "jpg", decode_jpeg(data), image.note)  # statistics are of the pixels that readers see


_opening = threading.Lock()
_open: dict[tuple[Any, ...], Images] = {}


def open_images(service: Service) -> Images:
    """The image hosts of a service; a process opens each once."""
    name = (service.endpoint, service.threads, service.image_rate)
    with _opening:
        if name not in _open:
            _open[name] = Images(service)
        return _open[name]
