"""What Flickr has said of photos: one line of JSON each, only ever added to, so that nothing is asked twice.

Any number of processes may share the file; `cat` joins the files of several machines.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

from shards.errors import ConfigError

Answer = dict[str, Any]
_SHORT: dict[bytes, Answer] = {
    b"none": {"status": "none"},
    b"gone": {"status": "gone"},
}
"""Answers without facts: most photos have no place, and millions of answers are held."""


class Answers:
    """Answers by (what was asked, photo id): `status` ok, none or gone, and the facts of ok."""

    def __init__(self, path: Path) -> None:
        """Open, or begin, a file of answers.

        Raises:
            ConfigError: the file cannot be written.
        """
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written ({error.strerror}); give another --location-cache"
            ) from None
        self._lock = threading.Lock()
        self._read = 0
        self._known: dict[tuple[str, int], bytes | Answer] = {}

    def get(self, what: str, photo: int) -> Answer | None:
        """The answer, also one that another process has just written; None: nobody asked, or it failed."""
        with self._lock:
            if (what, photo) not in self._known:
                self._refresh()
            found = self._known.get((what, photo))
        return json.loads(found) if isinstance(found, bytes) else found

    def put(self, what: str, photo: int, answer: Answer) -> None:
        """Keep an answer; `status` error is kept for people and asked again.

        Raises:
            ConfigError: the disk is full.
        """
        line = json.dumps({"photo": photo, "of": what, **answer}, ensure_ascii=False, allow_nan=False)
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                size = os.fstat(self._file).st_size
                torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"  # a writer was killed
                os.write(self._file, (("\n" if torn else "") + line + "\n").encode())
            except OSError as error:
                raise ConfigError(
                    f"{self.path}: cannot be written ({error.strerror}); free some space and run this again"
                ) from None
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _refresh(self) -> None:
        """Take in what was added since the last look; lines that were torn are passed over."""
        size = os.fstat(self._file).st_size
        while self._read < size:
            data = os.pread(self._file, min(size - self._read, 1 << 24), self._read)
            end = data.rfind(b"\n") + 1
            if not end:
                return
            self._read += end
            for line in data[:end].splitlines():
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            answer = json.loads(line)
            key = (str(answer.pop("of")), int(answer.pop("photo")))
            status = str(answer["status"])
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if status == "error":
            self._known.pop(key, None)
        elif status.encode() in _SHORT:
            self._known[key] = _SHORT[status.encode()]
        elif status == "ok":
            self._known[key] = json.dumps(answer).encode()
