"""The hosts of files of the embedded planet with trees of a test, and what was asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rsdata.remote.http import Client
from rsdata.remote.limits import Limiter
from rsdata.remote.retry import Backoff
from rsdata.sandbox.hosts import routes
from rsdata.sandbox.serve import Request, Response, Route, sandbox

QUICK = Backoff(attempts=6, base_s=0.001, total_s=20)
BODY = bytes(range(256)) * 4096
"""1 MiB."""


@dataclass
class Served:
    """A host at work."""

    url: str
    folder: Path
    """What it serves as bucket `b`; a test may change it."""
    asked: list[tuple[Request, Response]] = field(default_factory=list)

    def sent(self) -> int:
        """Bytes of all bodies."""
        return sum(len(response.body) for request, response in self.asked if request.method == "GET")

    def statuses(self) -> list[int]:
        return [response.status for _, response in self.asked]


@contextmanager
def served(
    folder: Path, *, faults: Sequence[str] = (), more: Sequence[Route] = (), seed: int = 0
) -> Iterator[Served]:
    """Serve a folder as `/files/b/…` and `/s3/b/…`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = Served("", folder)

    def noted(handler: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            response = handler(request)
            found.asked.append((request, response))
            return response

        return answer

    def link(place: Path, _: int) -> None:
        place.rmdir()
        place.symlink_to(folder)

    own = [(prefix, noted(handler)) for prefix, handler in [*more, *routes({"b": link})]]
    with sandbox(routes=own, faults=faults, seed=seed) as found.url:
        yield found


def client(
    tmp_path: Path, url: str, *, backoff: Backoff = QUICK, allow: Sequence[str] | None = None
) -> Client:
    return Client(url, Limiter(tmp_path / "limits", 4), backoff=backoff, deadline_s=5, allow=allow)
