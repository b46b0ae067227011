"""`/files/NAME/PATH` as a web server gives files; `/s3/BUCKET/KEY` as S3 does, path style (`--endpoint BASE/s3`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from xml.sax.saxutils import escape

from rsdata.sandbox.hosts.listing import etag, list_bucket
from rsdata.sandbox.serve import Request, Response, Route
from rsdata.sandbox.stac.host import range_of
from rsdata.sandbox.trees import TREES, Forest, Writer

_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".tif": "image/tiff", ".json": "application/json"}


def routes(trees: Mapping[str, Writer] = TREES) -> list[Route]:
    """Both hosts; they serve the same trees."""
    forests: dict[int, Forest] = {}
    lock = threading.Lock()

    def forest(seed: int) -> Forest:
        with lock:
            return forests.setdefault(seed, Forest(trees, seed))

    def files(request: Request) -> Response:
        path = _find(forest(request.seed), request.path.removeprefix("/files/"))
        if path is None:
            return Response(404, b"Not Found\n", "text/plain")
        return _file(request, path)

    def s3(request: Request) -> Response:
        name, _, key = request.path.removeprefix("/s3/").partition("/")
        if not key:
            folder = forest(request.seed).bucket(name, request.query.get("prefix", ""))
            if folder is None:
                return _error(404, "NoSuchBucket", "The specified bucket does not exist", request)
            if request.query.get("list-type") != "2":
                return _error(501, "NotImplemented", "Only ListObjectsV2 is served", request)
            return list_bucket(folder, name, request.query)
        path = _find(forest(request.seed), f"{name}/{key}")
        if path is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.", request)
        return _file(request, path)

    return [("/files/", files), ("/s3/", s3)]


def _find(forest: Forest, path: str) -> Path | None:
    """The file at `bucket/key`."""
    name, _, key = path.partition("/")
    if key.startswith("/") or ".." in key.split("/"):
        return None
    folder = forest.bucket(name, key)
    found = folder / key if folder is not None else None
    return found if found is not None and found.is_file() else None


def _file(request: Request, path: Path) -> Response:
    """A file, a range of it, or that it has not changed."""
    facts = path.stat()
    size, tag = facts.st_size, etag(path, facts.st_mtime_ns, facts.st_size)
    modified = formatdate(int(facts.st_mtime), usegmt=True)
    always = {"ETag": tag, "Last-Modified": modified, "Accept-Ranges": "bytes"}
    kind = _TYPES.get(path.suffix, "application/octet-stream")
    if tag == request.headers.get("if-none-match") or (
        "if-none-match" not in request.headers and request.headers.get("if-modified-since") == modified
    ):
        return Response(304, b"", kind, always)
    if request.method == "HEAD":
        return Response(200, b"", kind, always | {"Content-Length": str(size)})
    asked = request.headers.get("range")
    if request.headers.get("if-range", tag) not in (tag, modified):
        asked = None
    found = range_of(asked, size)
    if found is None:
        return Response(416, b"", kind, always | {"Content-Range": f"bytes */{size}"})
    start, stop = found
    with path.open("rb") as file:
        file.seek(start)
        body = file.read(stop - start)
    if (start, stop) == (0, size) and asked is None:
        return Response(200, body, kind, always)
    return Response(206, body, kind, always | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"})


def _error(status: int, code: str, message: str, request: Request) -> Response:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        f"<Resource>{escape(request.path)}</Resource></Error>"
    )
    return Response(status, text.encode(), "application/xml")
