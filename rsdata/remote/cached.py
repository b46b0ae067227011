"""The folder of an archive, wherever it lies: fetched, checked and unpacked once, into a cache."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

from rsdata.remote.digests import check_digest, digest_of_file
from rsdata.remote.files import download
from rsdata.remote.http import client_for, is_loopback
from rsdata.remote.lock import locked
from rsdata.remote.objects import url_of
from rsdata.remote.reach import shown
from rsdata.remote.retry import NETWORK, Backoff, RemoteError
from rsdata.remote.unpack import ENDINGS, unpack
from shards.console import BYTES, progress, say
from shards.errors import ConfigError


def cached_folder(
    root: str,
    *,
    digest: str | None = None,
    cache: Path | None = None,
    endpoint: str | None = None,
    backoff: Backoff = NETWORK,
) -> Path:
    """A local folder as it is, or that of an archive.

    Args:
        root: folder, archive file, or URL (https, s3) of an archive.
        digest: `sha256:…` or `md5:…` of the archive.
        cache: folder for what is unpacked; None is `~/.cache/rsdata`.
        endpoint: of S3; None is AWS.
        backoff: between tries.

    Raises:
        ConfigError: nothing there, not an archive, another digest, or it cannot be fetched.
        UserError: the archive is refused, or the disk is full.
    """
    check_digest(digest)
    local = None if "://" in root else Path(root)
    if local is None:
        identity = f"{root} {endpoint} {digest}"
    elif local.is_dir():
        return local
    elif local.is_file():
        facts = local.stat()
        identity = f"{local.resolve()} {facts.st_size} {facts.st_mtime_ns} {digest}"
    else:
        raise ConfigError(f"{local}: is neither a folder nor a file; give the folder or the archive")
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(urlsplit(root).path).name)[:60].strip("-")
    cache = (cache or Path.home() / ".cache" / "rsdata").expanduser().absolute()
    folder = cache / f"{stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    with locked(folder):
        if not folder.is_dir():
            if local is not None:
                _check(local, digest)
                _unpack(local, folder, local.name)
            else:
                archive = folder.with_name(f"{folder.name}.archive")
                _fetch(root, archive, digest, endpoint, backoff)
                _unpack(archive, folder, shown(root).rsplit("/", 1)[-1])
                _remove(archive)
    return folder


def is_archive(root: str) -> bool:
    """Whether a root names an archive by its ending."""
    return urlsplit(root).path.lower().endswith(ENDINGS)


def _check(archive: Path, digest: str | None) -> None:
    if digest is not None and (found := digest_of_file(archive, digest.split(":")[0])) != digest:
        raise ConfigError(
            f"{archive}: has the digest {found}, expected {digest}; fetch it again or correct --checksum"
        )


def _fetch(root: str, archive: Path, digest: str | None, endpoint: str | None, backoff: Backoff) -> None:
    if not is_archive(root):
        raise ConfigError(f"{shown(root)}: is no archive by its name; expected one of {', '.join(ENDINGS)}")
    url = url_of(root, endpoint) if root.startswith("s3://") else root
    if urlsplit(url).scheme == "http" and digest is None and not is_loopback(url):
        raise ConfigError(
            f"{shown(url)}: is without TLS, so anybody on the way could change it; use https or give --checksum"
        )
    try:
        with progress(f"fetch {shown(root).rsplit('/', 1)[-1]}", None, BYTES) as bar:
            download(url, archive, client=client_for(url), digest=digest, progress=bar, backoff=backoff)
    except RemoteError as error:
        raise ConfigError(f"{shown(root)}: cannot be fetched ({error.kind}: {error.reason})") from None


def _unpack(archive: Path, folder: Path, name: str) -> None:
    say(f"{name}: unpacking into {folder}")
    with progress(f"unpack {name}", archive.stat().st_size, BYTES) as bar:
        unpack(archive, folder, advance=bar.advance)


def _remove(archive: Path) -> None:
    """The archive and the note of its origin, once it is unpacked."""
    archive.unlink()
    archive.with_name(f".{archive.name}.from.json").unlink(missing_ok=True)
