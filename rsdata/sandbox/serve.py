"""The embedded planet as a local server: HTTP/1.1, threads, routes by prefix, faults and latency on demand."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from rsdata.sandbox.faults import Fault, Mischief, refusal, spoil
from rsdata.sandbox.tally import Tally, short_of
from shards.errors import ConfigError

DRIP_S = 2.0
PRIVATE_URL = "http://10.0.0.1/latest/meta-data/"
"""Where the fault `private` redirects to."""
_BODY_LIMIT = 64 << 20


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    """Decoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    seed: int
    """Of the planet."""
    base_url: str
    """`http://127.0.0.1:8765`, no slash at the end."""

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(self.body or b"null")


@dataclass(frozen=True)
class Response:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Response:
        """As JSON."""
        return cls(status, json.dumps(value, separators=(",", ":"), allow_nan=False).encode())

    @classmethod
    def error(cls, status: int, message: str, api_status: str = "INVALID_ARGUMENT") -> Response:
        """As Google's services say it."""
        return cls.of({"error": {"code": status, "message": message, "status": api_status}}, status)


Handler = Callable[[Request], Response]
Route = tuple[str, Handler]
"""The path begins with the first; the first route that fits answers."""


def default_routes() -> list[Route]:
    """Every service of the planet."""
    from rsdata.sandbox import earthengine, hosts
    from rsdata.sandbox.flickr.routes import routes as flickr
    from rsdata.sandbox.stac.routes import routes as stac

    return [*flickr(), *stac(), *hosts.routes(), *earthengine.routes()]


@dataclass
class Settings:
    """How the server behaves."""

    seed: int = 0
    latency: float = 0.0
    """Seconds from a request to its answer, at least; the planet's own work counts."""
    concurrency: int | None = None
    """Requests at once; more are answered 429."""
    retry_after: int = 0
    """What a 429 asks for, seconds."""
    mischief: Mischief = field(default_factory=Mischief)
    routes: Sequence[Route] = ()
    tally: Tally = field(default_factory=Tally)


class Server(ThreadingHTTPServer):
    """Listens; `url` says where."""

    daemon_threads = True
    request_queue_size = 512
    block_on_close = False

    def __init__(self, host: str, port: int, settings: Settings) -> None:
        self.settings = settings
        try:
            super().__init__((host, port), _Connection)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"cannot listen on {host}:{port} ({error}); give another --port, or 0"
            ) from None

    @property
    def url(self) -> str:
        """Base of all services."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that clients end are nothing to report."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "rsdata-sandbox"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 120

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: stdout is for the base URL."""

    def _answer(self) -> None:
        assert isinstance(self.server, Server)
        settings = self.server.settings
        length = self.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _BODY_LIMIT:
            self.close_connection = True
            self._send(Response.error(413, f"The body is too large; {_BODY_LIMIT} bytes are allowed."))
            return
        body = self.rfile.read(int(length))
        url = urlsplit(self.path)
        request = Request(
            self.command,
            unquote(url.path),
            dict(parse_qsl(url.query)),
            {name.lower(): value for name, value in self.headers.items()},
            body,
            settings.seed,
            self.server.url,
        )
        if request.path.startswith("/_sandbox/"):
            self._send(self._control(request, settings))
            return
        due = time.monotonic() + settings.latency
        within = settings.tally.enter(short_of(request.path), settings.concurrency)
        fault = None
        try:
            if not within:
                response = _busy("Too many concurrent requests.", settings)
            else:
                fault = self._fault(request, settings)
                response = self._respond(request, settings, fault)
                time.sleep(max(0.0, due - time.monotonic()))
        finally:
            settings.tally.leave(fault.kind if fault else None)
        self._send(response, fault)

    def _fault(self, request: Request, settings: Settings) -> Fault | None:
        ranged = request.headers.get("range", "").encode()
        return settings.mischief.choose(request.path, request.body + ranged)

    def _respond(self, request: Request, settings: Settings, fault: Fault | None) -> Response:
        said = refusal(fault) if fault else None
        if said:
            status, api_status, message = said
            return _busy(message, settings) if status == 429 else Response.error(status, message, api_status)
        if fault and fault.kind == "private":
            return Response(302, headers={"Location": PRIVATE_URL})
        try:
            response = dispatch(request, settings.routes)
        except Exception as error:  # a fault of the planet itself must not look like one that was asked for
            return Response.error(500, f"sandbox: {type(error).__name__}: {error}", "INTERNAL")
        if fault and response.status < 300:
            kind = "text/html" if fault.kind == "html" else response.content_type
            return Response(response.status, spoil(fault, response.body), kind, response.headers)
        return response

    def _control(self, request: Request, settings: Settings) -> Response:
        what = (request.method, request.path)
        if what == ("GET", "/_sandbox/stats"):
            return Response.of(settings.tally.to_dict())
        if what == ("POST", "/_sandbox/reset"):
            settings.tally.reset()
            settings.mischief.reset()
            return Response.of({})
        return Response.error(404, "There are GET /_sandbox/stats and POST /_sandbox/reset.", "NOT_FOUND")

    def _send(self, response: Response, fault: Fault | None = None) -> None:
        body = response.body
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        headers = {name.lower(): value for name, value in response.headers.items()}
        for name, value in response.headers.items():
            self.send_header(name, value)
        if "content-length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.kind == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault and fault.kind == "drip":
            step = max(1, len(body) // 20)
            for start in range(0, len(body), step):
                self.wfile.write(body[start : start + step])
                self.wfile.flush()
                time.sleep(DRIP_S / 20)
        else:
            self.wfile.write(body)


def _busy(message: str, settings: Settings) -> Response:
    body = Response.error(429, message, "RESOURCE_EXHAUSTED").body
    return Response(429, body, headers={"Retry-After": str(settings.retry_after)})


def dispatch(request: Request, routes: Sequence[Route]) -> Response:
    """The answer of the first route that fits."""
    for prefix, handler in routes:
        if request.path.startswith(prefix):
            return handler(request)
    return Response.error(404, f"{request.path} is not served.", "NOT_FOUND")


def start(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    seed: int = 0,
    faults: Sequence[Fault | str] = (),
    latency: float = 0.0,
    concurrency: int | None = None,
    retry_after: int = 0,
    routes: Sequence[Route] | None = None,
) -> Server:
    """A server that listens; call `serve_forever`.

    Raises:
        ConfigError: the port is taken, or a fault is not known.
    """
    parsed = [Fault.parse(fault) if isinstance(fault, str) else fault for fault in faults]
    settings = Settings(
        seed,
        latency,
        concurrency,
        retry_after,
        Mischief(parsed, seed),
        default_routes() if routes is None else routes,
    )
    return Server(host, port, settings)


@contextmanager
def sandbox(
    *,
    seed: int = 0,
    faults: Sequence[Fault | str] = (),
    latency: float = 0.0,
    concurrency: int | None = None,
    retry_after: int = 0,
    routes: Sequence[Route] | None = None,
) -> Iterator[str]:
    """A server in this process while the block runs; gives its base URL."""
    server = start(
        seed=seed,
        faults=faults,
        latency=latency,
        concurrency=concurrency,
        retry_after=retry_after,
        routes=routes,
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
