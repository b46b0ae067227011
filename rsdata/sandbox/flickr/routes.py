"""REST API and image hosts as routes of the local server."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from typing import Any
from urllib.parse import parse_qsl

from rsdata.flickr.ids import parse
from rsdata.sandbox.flickr.photos import Fate, fate_of, jpeg_of, location_of, names_of
from rsdata.sandbox.serve import DRIP_S, Request, Response, Route

_KEY = re.compile(r"[0-9a-f]{32}\Z")
"""What Flickr's keys look like; any such is accepted."""
_MOST = 100_000
_LICENCES = (
    (0, "All Rights Reserved", ""),
    (1, "Attribution-NonCommercial-ShareAlike License", "https://creativecommons.org/licenses/by-nc-sa/2.0/"),
    (4, "Attribution License", "https://creativecommons.org/licenses/by/2.0/"),
)
_FAILED = {
    1: "Photo not found",
    2: "Photo has no location information",
    100: "Invalid API Key (Key has invalid format)",
    105: "Service currently unavailable",
    112: "Method not found",
}
_UNAVAILABLE = "/photos/combo.staticflickr.com/pw/images/en-us/photo_unavailable.png"


def routes() -> list[Route]:
    """REST at `/services/rest/`, images at `/photos/HOST/PATH`, the calls so far at `/_sandbox_flickr/calls`."""
    service = Flickr()
    return [
        ("/services/rest/", service.rest),
        ("/photos/", service.image),
        ("/_sandbox_flickr/calls", service.calls),
    ]


class Flickr:
    """One service, with a memory of when it was asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[tuple[str, str, float]] = deque(maxlen=_MOST)
        self._asked: set[int] = set()

    def calls(self, request: Request) -> Response:
        """Method, photo and monotonic seconds of each call of the API, oldest first."""
        with self._lock:
            return Response.of([list(call) for call in self._calls])

    def rest(self, request: Request) -> Response:
        """A method of the API, by GET or POST."""
        asked = dict(request.query) | dict(parse_qsl(request.body.decode(errors="replace")))
        method = asked.get("method", "")
        with self._lock:
            self._calls.append((method, asked.get("photo_id", ""), time.monotonic()))
        if not _KEY.match(asked.get("api_key", "")):
            return _failed(100)
        if method == "flickr.test.echo":
            return Response.of({"stat": "ok", "method": {"_content": method}})
        if method == "flickr.photos.licenses.getInfo":
            rows = [{"id": str(number), "name": name, "url": url} for number, name, url in _LICENCES]
            return Response.of({"stat": "ok", "licenses": {"license": rows}})
        text = asked.get("photo_id", "")
        if not text.isdecimal():
            return _failed(1)
        photo = int(text)
        fate = fate_of(photo)
        if fate == "deleted":
            return _failed(1)
        if method == "flickr.photos.geo.getLocation":
            return self._location(photo, fate, request.seed)
        if method == "flickr.photos.getInfo":
            return _info(photo)
        return _failed(112)

    def _location(self, photo: int, fate: Fate, seed: int) -> Response:
        with self._lock:
            first = photo not in self._asked
            self._asked.add(photo)
        if fate == "busy" and first:
            return _failed(105)
        if fate == "nowhere":
            return _failed(2)
        lon, lat = (0.0, 0.0) if fate == "null" else location_of(photo, seed)
        place: dict[str, Any] = {
            "latitude": f"{lat:.6f}",
            "longitude": f"{lon:.6f}",
            "accuracy": str(11 + photo % 6),
        }
        place |= {name: {"_content": text} for name, text in names_of(photo, seed).items()}
        return Response.of({"stat": "ok", "photo": {"id": str(photo), "location": place}})

    def image(self, request: Request) -> Response:
        """A file of an image host, or what comes in its place."""
        if request.path == _UNAVAILABLE:
            return Response(200, _placeholder("png"), "image/png")
        photo = parse(f"https://{request.path.removeprefix('/photos/')}")
        if photo is None:
            return Response(404, b"Not found", "text/plain")
        fate = fate_of(photo.id)
        live = request.path.startswith("/photos/live.")
        if fate == "missing" or fate == "deleted" or (fate == "moved" and live):
            return Response(404, b"Not found", "text/plain")
        if fate == "placeholder":
            if photo.id % 2:
                return Response(302, headers={"Location": request.base_url + _UNAVAILABLE})
            return Response(200, _placeholder("gif"), "image/gif")
        if fate == "private":
            return Response(302, headers={"Location": f"http://10.0.0.{1 + photo.id % 250}/latest/meta-data"})
        data = jpeg_of(photo.id, request.seed)
        if fate == "truncated":
            data = data[: len(data) // 2]
        if fate == "slow":
            time.sleep(DRIP_S)
        return Response(200, data, "image/jpeg")


def _info(photo: int) -> Response:
    number = _LICENCES[photo % len(_LICENCES)][0]
    secret = f"{photo * 2654435761 % 2**40:010x}"
    facts = {
        "id": str(photo),
        "secret": secret,
        "server": str(photo % 8000 + 1),
        "license": str(number),
        "dates": {"taken": f"2009-07-{1 + photo % 28:02d} 12:30:00"},
    }
    return Response.of({"stat": "ok", "photo": facts})


def _failed(code: int) -> Response:
    return Response.of({"stat": "fail", "code": code, "message": _FAILED[code]})


def _placeholder(kind: str) -> bytes:
    """A grey card, as a file of this kind."""
    import io

    from PIL import Image, ImageDraw

    card = Image.new("RGB", (500, 374), (237, 237, 237))
    ImageDraw.Draw(card).text((150, 180), "This photo is no longer available", (120, 120, 120))
    out = io.BytesIO()
    card.save(out, kind)
    return out.getvalue()
