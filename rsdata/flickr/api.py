"""Flickr's REST API: where a photo was taken, and under which licence it stands.

https://www.flickr.com/services/api/flickr.photos.geo.getLocation.html; a key is all it asks for. All processes of this
machine share one rate for a key, and no answer is asked for twice.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from rsdata.flickr.answers import Answer, Answers
from rsdata.remote.http import Client
from rsdata.remote.limits import limiter_of
from rsdata.remote.retry import NETWORK, Backoff, RemoteError, of_status, retrying
from rsdata.sources.base import FetchError
from shards.errors import ConfigError
from shards.failures import FailureClass

API = "https://api.flickr.com"
KEY = "FLICKR_API_KEY"
_AT_ONCE = 8
"""Calls under way: at one a second a few are enough, however slow the service is."""
_BUSY = {0, 105, 106, 201, 504}
"""Codes of an API that is busy or at fault itself: to be asked again."""
_REFUSALS = {95, 96, 97, 98, 99, 100, 112, 116}


class Service(Protocol):
    """What an API needs to know; the options of a source have it."""

    @property
    def endpoint(self) -> str | None:
        """Base URL; None is Flickr."""

    @property
    def quota(self) -> float:
        """Calls an hour."""

    @property
    def location_cache(self) -> Path | None:
        """File of answers; None is one of this user."""


@dataclass(frozen=True)
class Location:
    """Where a photo was taken, as its owner says."""

    lon: float
    lat: float
    accuracy: int | None
    """1 world, 3 country, 6 region, 11 city, 16 street."""
    locality: str
    county: str
    region: str
    country: str


@dataclass(frozen=True)
class Info:
    """What else Flickr says of a photo."""

    licence: str
    taken: str
    """Local time of the camera, as `2008-07-01 12:30:00`; empty where unknown."""
    file: str
    """`SERVER/ID_SECRET.jpg`."""


class Api:
    """One API with one key."""

    def __init__(self, service: Service, key: str, *, backoff: Backoff = NETWORK) -> None:
        base = (service.endpoint or API).rstrip("/")
        self.host = urlsplit(base).netloc
        self._url = f"{base}/services/rest/"
        self._key = key
        self._backoff = backoff
        # The quota is the key's: who has two keys has two limits.
        name = f"{base} {hashlib.sha256(key.encode()).hexdigest()}"
        self._http = Client(base, limiter_of(name, _AT_ONCE, service.quota / 3600), backoff=backoff)
        self._answers = Answers(service.location_cache or _own_cache(self.host))
        self._licences: dict[str, str] = {}
        self._lock = threading.Lock()

    def check(self) -> None:
        """See that the key is accepted.

        Raises:
            ConfigError: it is not, or nothing answers.
        """
        try:
            self._call("flickr.test.echo")
        except RemoteError as error:
            if error.kind is FailureClass.REFUSED:
                raise ConfigError(
                    f"{self.host} does not accept the key in {KEY} ({error.reason}); get one at "
                    "https://www.flickr.com/services/apps/create/"
                ) from None
            raise ConfigError(
                f"{self.host} cannot be used ({error.reason}); check --endpoint and the network"
            ) from None

    def locate(self, photo: int) -> Location:
        """Where a photo was taken.

        Raises:
            FetchError: stage `locate`: `gone` (no such photo, or not public), `invalid` (no place, or one that is none),
                `refused`, `transient`.
        """
        answer = self._answer("location", "flickr.photos.geo.getLocation", photo, _location)
        if answer["status"] == "none":
            raise FetchError(FailureClass.INVALID, f"photo {photo} has no location", "locate")
        lon, lat = float(answer["lon"]), float(answer["lat"])
        if not (abs(lon) <= 180 and abs(lat) <= 90) or (lon == 0 and lat == 0):
            raise FetchError(
                FailureClass.INVALID, f"photo {photo} is said to be at lon {lon:g}, lat {lat:g}", "locate"
            )
        names = (str(answer.get(name, "")) for name in ("locality", "county", "region", "country"))
        return Location(lon, lat, answer.get("accuracy"), *names)

    def info(self, photo: int) -> Info:
        """Licence, date and file of a photo.

        Raises:
            FetchError: as `locate`.
        """
        answer = self._answer("info", "flickr.photos.getInfo", photo, self._info)
        if answer["status"] == "none":
            raise FetchError(FailureClass.GONE, f"Flickr tells nothing of photo {photo}", "locate")
        return Info(str(answer["licence"]), str(answer["taken"]), str(answer["file"]))

    def _answer(self, what: str, method: str, photo: int, read: Any) -> Answer:
        answer = self._answers.get(what, photo)
        if answer is None:
            try:
                answer = self._ask(method, photo, read)
            except RemoteError as error:
                if error.kind is not FailureClass.REFUSED:  # a bad key says nothing of the photo
                    self._answers.put(what, photo, {"status": "error", "reason": error.reason})
                raise FetchError(error.kind, error.reason, "locate") from None
            self._answers.put(what, photo, answer)
        if answer["status"] == "gone":
            raise FetchError(FailureClass.GONE, f"Flickr has no photo {photo} to show", "locate")
        return answer

    def _ask(self, method: str, photo: int, read: Any) -> Answer:
        found = self._call(method, photo_id=str(photo))
        code = int(found.get("code", 0)) if found.get("stat") != "ok" else None
        if code is not None:
            return {"status": {1: "gone", 2: "none"}[code]}
        try:
            answer: Answer = read(found)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RemoteError(
                FailureClass.INVALID, f"{self.host} answered for photo {photo} without what was asked for"
            ) from None
        return answer

    def _info(self, found: Answer) -> Answer:
        photo = found["photo"]
        return {
            "status": "ok",
            "licence": self._licence(str(photo["license"])),
            "taken": str(photo.get("dates", {}).get("taken", "")),
            "file": f"{photo['server']}/{photo['id']}_{photo['secret']}.jpg",
        }

    def _licence(self, number: str) -> str:
        """Name of a licence, by Flickr's own table, which is asked for once."""
        with self._lock:
            if not self._licences:
                rows = self._call("flickr.photos.licenses.getInfo")["licenses"]["license"]
                self._licences = {str(row["id"]): str(row.get("name", "")) for row in rows}
        return self._licences.get(number) or f"Flickr's licence {number}"

    def _call(self, method: str, **values: str) -> Answer:
        """One call; the key goes in the body, never in a URL."""
        asked = {
            "method": method,
            "api_key": self._key,
            "format": "json",
            "nojsoncallback": "1",
            **values,
        }

        def once() -> Answer:
            response = self._http.post(self._url, data=asked, allow_redirects=False)
            if response.status_code >= 300:  # it says nothing of the photo
                fault = of_status(max(response.status_code, 400), self.host, "")
                refused = fault.kind is FailureClass.REFUSED
                raise fault if refused else RemoteError(FailureClass.TRANSIENT, fault.reason)
            try:
                found = response.json()
                failed = found["stat"] != "ok"
                code = int(found.get("code", 0)) if failed else 0
            except (ValueError, KeyError, TypeError, AttributeError):
                raise RemoteError(
                    FailureClass.INVALID, f"{self.host} sent an answer that is not Flickr's", again=True
                ) from None
            if failed and not (code in (1, 2) and values):
                said = str(found.get("message", "")).replace(self._key, "…")[:200]
                refused = code in _REFUSALS
                raise RemoteError(
                    FailureClass.REFUSED if refused else FailureClass.TRANSIENT,
                    f"{self.host} answered with code {code}: {said}",
                    again=code in _BUSY,
                )
            return dict(found)

        return retrying(once, self._backoff)


def _location(found: Answer) -> Answer:
    place = found["photo"]["location"]
    lon, lat = float(place["longitude"]), float(place["latitude"])
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise ValueError("not finite")
    answer: Answer = {"status": "ok", "lon": lon, "lat": lat}
    if str(place.get("accuracy", "")).isdecimal():
        answer["accuracy"] = int(place["accuracy"])
    for name in ("locality", "county", "region", "country"):
        value = place.get(name)
        if isinstance(value, dict) and value.get("_content"):
            answer[name] = str(value["_content"])
    return answer


def key_of_environment() -> str:
    """The API key.

    Raises:
        ConfigError: there is none.
    """
    key = os.environ.get(KEY, "").strip()
    if not key:
        raise ConfigError(
            f"{KEY}: is not set; places come from Flickr's API, whose keys are free at "
            "https://www.flickr.com/services/apps/create/ (export it, no option takes it)"
        )
    return key


def _own_cache(host: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if base else Path.home() / ".cache"
    return folder / "rsdata" / f"flickr-{host.replace(':', '-')}.jsonl"


_opening = threading.Lock()
_open: dict[tuple[Any, ...], Api] = {}


def open_api(service: Service) -> Api:
    """The API of a service; a process opens each once.

    Raises:
        ConfigError: no key, or a cache that cannot be written.
    """
    key = key_of_environment()
    name = (service.endpoint, service.quota, service.location_cache, key)
    with _opening:
        if name not in _open:
            _open[name] = Api(service, key)
        return _open[name]
