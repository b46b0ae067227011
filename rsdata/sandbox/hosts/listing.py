"""ListObjectsV2: the keys of a bucket, a page at a time."""

from __future__ import annotations

import base64
import bisect
import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from rsdata.sandbox.serve import Response

_MOST = 1000


def list_bucket(folder: Path, name: str, query: Mapping[str, str]) -> Response:
    """One page of the keys that begin with a prefix, in the order of their bytes; with a delimiter, of their folders too."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    most = min(int(query.get("max-keys") or _MOST), _MOST)
    after = query.get("start-after", "")
    if token := query.get("continuation-token"):
        after = base64.urlsafe_b64decode(token).decode()
    keys = _keys(folder)
    rows: list[str] = []
    last, count, more = "", 0, False
    at = max(bisect.bisect_left(keys, prefix), bisect.bisect_right(keys, after))
    while at < len(keys) and keys[at].startswith(prefix):
        key = keys[at]
        if count == most:
            more = True
            break
        cut = key.find(delimiter, len(prefix)) if delimiter else -1
        if cut >= 0:
            last = key[: cut + len(delimiter)] + "\U0010ffff"
            rows.append(f"<CommonPrefixes><Prefix>{_text(last[:-1], query)}</Prefix></CommonPrefixes>")
            at = bisect.bisect_right(keys, last)
        else:
            last = key
            rows.append(_row(folder, key, query))
            at += 1
        count += 1
    token = base64.urlsafe_b64encode(last.encode()).decode()
    encoding = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{name}</Name><Prefix>{_text(prefix, query)}</Prefix><KeyCount>{count}</KeyCount>"
        f"<MaxKeys>{most}</MaxKeys>{encoding}<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        + (f"<NextContinuationToken>{token}</NextContinuationToken>" if more else "")
        + f"{''.join(rows)}</ListBucketResult>"
    )
    return Response(200, text.encode(), "application/xml")


def _row(folder: Path, key: str, query: Mapping[str, str]) -> str:
    path = folder / key
    facts = path.stat()
    when = datetime.fromtimestamp(int(facts.st_mtime), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    tag = escape(etag(path, facts.st_mtime_ns, facts.st_size))
    return (
        f"<Contents><Key>{_text(key, query)}</Key><LastModified>{when}</LastModified><ETag>{tag}</ETag>"
        f"<Size>{facts.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


@lru_cache(maxsize=1 << 16)
def etag(path: Path, modified_ns: int, size: int) -> str:
    """md5 of the content, in quotes, as S3 has it for what was uploaded in one piece."""
    with path.open("rb") as file:
        return f'"{hashlib.file_digest(file, "md5").hexdigest()}"'


def _text(key: str, query: Mapping[str, str]) -> str:
    return quote(key, safe="/") if query.get("encoding-type") == "url" else escape(key)


def _keys(folder: Path) -> list[str]:
    """Every key of a bucket, sorted."""
    found: list[str] = []
    for place, _, names in os.walk(folder):
        below = Path(place).relative_to(folder).as_posix()
        found += names if below == "." else [f"{below}/{name}" for name in names]
    return sorted(found)
