"""A shard set as the programs here open it: in a folder, or behind a URL with a cache."""

from __future__ import annotations

from pathlib import Path

from shards.cache import ShardCache
from shards.index import Index


def opened(where: str, cache: Path | None, cache_gb: float) -> Index:
    """The set; shards of a URL are kept in the folder `cache`, if there is one, up to `cache_gb`.

    Raises:
        ShardError: no finished set is there.
        ConfigError: the cache cannot be made.
    """
    return Index.open(where, cache=ShardCache(cache, int(cache_gb * 1e9)) if cache else None)
