"""What the local server can be told to do wrong, and when: as a function of its seed and of what it is asked."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from shards.errors import ConfigError

Kind = Literal[
    "429", "500", "503", "401", "403", "404", "memory", "cut", "drip", "html", "half", "shape", "nan", "truncated",
    "flip", "private",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)

_UNTOUCHED = ("/_sandbox", "/$discovery")
_ARRAYS = ("half", "shape", "nan")
_LASTING = ("404", "truncated", "flip", "private")
"""Damage of what lies there, so the same at every request, whatever part of it is asked for."""
_SAID = {
    "429": (
        429,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded for quota metric 'Earth Engine API requests' per minute.",
    ),
    "500": (500, "INTERNAL", "An internal error has occurred."),
    "503": (503, "UNAVAILABLE", "The service is currently unavailable."),
    "401": (
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential.",
    ),
    "403": (
        403,
        "PERMISSION_DENIED",
        "Caller does not have required permission to use project. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission.",
    ),
    "404": (404, "NOT_FOUND", "Not found."),
    "memory": (400, "INVALID_ARGUMENT", "User memory limit exceeded."),
}
"""HTTP status, status of the API, message."""


@dataclass(frozen=True)
class Fault:
    """One way to misbehave.

    429, 500, 503, 401, 403, 404, memory: that answer. cut: the connection ends in mid-body. drip: the body comes in small
    pieces over two seconds. html: a page with status 200. half, shape, nan: an array that ends early, has another
    shape, holds NaN (requests for pixels only). truncated: the body has half its bytes, and says so. flip: a byte of it
    is another one. private: a redirect into a private network. 404, truncated, flip and private hit the same paths at
    every request.
    """

    kind: str
    share: float = 0.0
    """Of requests, 0 to 1; which ones is a function of the seed, the request and how often it came."""
    first: int = 0
    """So many requests from the start, then no more (of this share)."""
    path: str = ""
    """Only where the path contains this."""

    def concerns(self, path: str) -> bool:
        """Whether a request for a path may get it.

        Starting a client reads the list of algorithms: only a refused account stops that.
        """
        if path.startswith(_UNTOUCHED) or (path.endswith("/algorithms") and self.kind not in ("401", "403")):
            return False
        return self.path in path and (self.kind not in _ARRAYS or path.endswith("Pixels"))

    @classmethod
    def parse(cls, text: str) -> Fault:
        """`429=0.2` (a share), `500=first:3` (the first three), `cut@computePixels=0.1` (some paths only).

        Raises:
            ConfigError: it is not of these forms.
        """
        name, _, amount = text.partition("=")
        kind, _, path = name.partition("@")
        try:
            if kind not in KINDS:
                raise ValueError
            fault = (
                cls(kind, first=int(amount[6:]), path=path)
                if amount.startswith("first:")
                else cls(kind, float(amount), path=path)
            )
            if not 0 <= fault.share <= 1 or fault.first < 0:
                raise ValueError
        except ValueError:
            raise ConfigError(
                f"fault {text!r} is not of the form KIND=SHARE, KIND=first:N or KIND@PATH=SHARE with SHARE 0 to 1; "
                f"kinds: {', '.join(KINDS)}"
            ) from None
        return fault


class Mischief:
    """Decides for each request; safe for threads, and what it decides does not depend on their order."""

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self.faults = tuple(faults)
        self.seed = seed
        self._lock = threading.Lock()
        self._seen: Counter[bytes] = Counter()
        self._left = [fault.first for fault in faults]

    def reset(self) -> None:
        """Forget what was asked before."""
        with self._lock:
            self._seen.clear()
            self._left = [fault.first for fault in self.faults]

    def choose(self, path: str, body: bytes) -> Fault | None:
        """The fault of a request, if it gets one."""
        if not self.faults:
            return None
        digest = hashlib.sha256(path.encode() + b"\n" + body).digest()
        lasting = hashlib.sha256(path.encode()).digest()
        with self._lock:
            turn = self._seen[digest]
            self._seen[digest] += 1
            for k, fault in enumerate(self.faults):
                if not fault.concerns(path):
                    continue
                if self._left[k]:
                    self._left[k] -= 1
                    return fault
                which = lasting if fault.kind in _LASTING else f"{turn} ".encode() + digest
                word = f"{self.seed} {k} {fault.kind} ".encode() + which
                draw = int.from_bytes(hashlib.sha256(word).digest()[:7], "big") / 2**56
                if draw < fault.share:
                    return fault
        return None


def refusal(fault: Fault) -> tuple[int, str, str] | None:
    """Status, API status and message of a fault that is answered instead of the request; None for the others."""
    return _SAID.get(fault.kind)


def spoil(fault: Fault, body: bytes) -> bytes:
    """The body as a faulty server sends it; shape and nan change NPY only."""
    if fault.kind == "html":
        return b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
    if fault.kind in ("half", "truncated"):
        return body[: len(body) // 2]
    if fault.kind == "flip" and body:
        at = len(body) * 7 // 8  # behind the headers of all formats
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    if fault.kind not in _ARRAYS or not body.startswith(b"\x93NUMPY"):
        return body
    import numpy as np

    array = np.load(io.BytesIO(body))
    if fault.kind == "shape":
        array = array[:-1]
    else:
        names = array.dtype.names or ()
        plain = np.zeros(array.shape, [(name, "<f4") for name in names])
        for name in names:
            plain[name] = array[name]
            plain[name][array.shape[0] // 2] = np.nan
        array = plain
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()
