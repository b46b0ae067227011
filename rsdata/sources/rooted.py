"""Sources whose archive is a folder, an archive file, or the URL of one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator, model_validator

from rsdata.sources.base import Source

_SECRET = re.compile("sig|token|secret|cred|key|auth|pass", re.IGNORECASE)
"""In names of a query: as signed URLs have them."""


class Rooted(Source):
    """Where an archive lies; `folder` gives it as a local folder."""

    root: str = Field(
        description="folder; or a zip or tar, as a file or as a URL (https://…, s3://bucket/key), which is fetched, "
        "checked and unpacked once"
    )
    checksum: str | None = Field(
        None, description="sha256:… or md5:… that the zip or tar must have (default: not checked)"
    )
    cache: Path | None = Field(
        None, description="folder for what is fetched and unpacked (default: ~/.cache/rsdata)"
    )
    endpoint: str | None = Field(
        None, description="URL of the S3 service, for s3:// (default: that of AWS, unsigned)"
    )

    where: ClassVar[frozenset[str]] = frozenset({"root", "cache", "endpoint"})

    @field_validator("root", mode="before")
    @classmethod
    def _path(cls, root: object) -> object:
        """Python callers may give a Path."""
        return str(root) if isinstance(root, Path) else root

    @field_validator("root")
    @classmethod
    def _absolute(cls, root: str) -> str:
        """A build may start from another folder than the plan."""
        return root if "://" in root else str(Path(root).expanduser().absolute())

    @model_validator(mode="after")
    def _can_be_stored(self) -> Self:
        """Configs are stored and shown, so they hold no password; nor does what is said of a root that is refused."""
        scheme, mark, _ = self.root.partition("://")
        if mark and scheme not in ("http", "https", "s3"):
            raise ValueError(f"root: {scheme}:// is not read; give a folder, an archive, https:// or s3://")
        for url in (self.root, self.endpoint or ""):
            if "://" in url and "@" in urlsplit(url).netloc:
                raise ValueError(
                    "root and endpoint: must not hold a name and password; put them into ~/.netrc"
                )
        named = [name for name, _ in parse_qsl(urlsplit(self.root).query) if _SECRET.search(name)]
        if self.is_url and named:
            raise ValueError(
                f"root: its {named[0]} looks like a secret, and configs are stored and shown; fetch the archive and give "
                "the file"
            )
        return self

    def folder(self) -> Path:
        """The local folder of the archive; fetches and unpacks it if that was not done yet.

        Raises:
            UserError: it is not to be had, or is refused.
        """
        from rsdata.remote.cached import cached_folder

        return cached_folder(self.root, digest=self.checksum, cache=self.cache, endpoint=self.endpoint)

    def ready(self) -> None:
        """See that the folder is there; a checksum beside a folder is said to be of no use."""
        from shards.console import say

        if self.folder() == Path(self.root) and self.checksum is not None:
            say(f"{self.root}: is a folder, so nothing is compared with the checksum {self.checksum}")

    @property
    def is_url(self) -> bool:
        """Whether the archive lies elsewhere."""
        return "://" in self.root
