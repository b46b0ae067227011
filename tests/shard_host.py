"""A shard set behind a URL: an HTTP server of ranges that fails the first request for each shard and notes them all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Host(SimpleHTTPRequestHandler):
    """Files with ranges; each shard fails the first time."""

    asked: list[str]

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[1]
        path = Path(self.directory) / name
        if not path.exists():
            return self.send_error(404)
        data = path.read_bytes()
        if name.endswith(".tar"):
            self.asked.append(name)
            if self.asked.count(name) == 1:
                return self.send_error(503)
        asked = self.headers.get("Range")
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            data = data[start:stop]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hosted(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """URL of a folder, and the names of the shards asked for."""
    asked: list[str] = []
    handler = type("Handler", (Host,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
