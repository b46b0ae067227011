"""The services as routes of the local server."""

from __future__ import annotations

from rsdata.sandbox.serve import Request, Response, Route
from rsdata.sandbox.stac.api import BadRequest, answer
from rsdata.sandbox.stac.host import cog_at, range_of

_MOST = 32 << 20
"""Bytes of one answer: the whole of a file would be made anew for everyone who asks."""


def routes() -> list[Route]:
    """STAC API at `/stac`, its files at `/cog`."""
    return [("/stac", api), ("/cog/", file)]


def api(request: Request) -> Response:
    """A STAC API."""
    path = request.path.removeprefix("/stac")
    try:
        found = answer(path, request.query, request.body, request.base_url, request.seed)
    except BadRequest as error:
        return Response.of({"code": "BadRequest", "description": str(error)}, 400)
    if found is None:
        return Response.of({"code": "NotFound", "description": f"{request.path} is not there"}, 404)
    return Response.of(found)


def file(request: Request) -> Response:
    """A file, or a range of it."""
    cog = cog_at(request.path.removeprefix("/cog"), request.seed)
    if cog is None:
        return Response.of({"code": "NotFound", "description": f"{request.path} is not there"}, 404)
    asked = request.headers.get("range")
    found = range_of(asked, cog.size)
    always = {"Accept-Ranges": "bytes"}
    if found is None:
        return Response(416, headers=always | {"Content-Range": f"bytes */{cog.size}"})
    start, stop = found
    if request.method == "HEAD":
        return Response(200, b"", "image/tiff", always | {"Content-Length": str(cog.size)})
    if stop - start > _MOST:
        return Response.of(
            {"code": "TooLarge", "description": "ask for ranges; the file is made as it is read"}, 413
        )
    if asked is None:
        return Response(200, cog.read(0, cog.size), "image/tiff", always)
    said = {"Content-Range": f"bytes {start}-{stop - 1}/{cog.size}"}
    return Response(206, cog.read(start, stop), "image/tiff", always | said)
