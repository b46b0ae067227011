"""What a whole file must be: `sha256:…`, or `md5:…` where that is all that was published."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from shards.errors import ConfigError

_FORM = re.compile(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}")


def check_digest(digest: str | None) -> None:
    """See that a digest can be one.

    Raises:
        ConfigError: it cannot.
    """
    if digest is not None and not _FORM.fullmatch(digest):
        raise ConfigError(
            f"digest {digest!r}: is neither sha256: and 64 nor md5: and 32 hexadecimal digits in lower case; correct it"
        )


def digest_of_file(path: Path, kind: str) -> str:
    """`sha256:…` or `md5:…` of a file."""
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"
