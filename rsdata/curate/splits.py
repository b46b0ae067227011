"""Which places are held out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shards.errors import ConfigError
from shards.random import address, stream

_BLOCKS = stream("splits/geo_blocks")


def geo_blocks(
    lon: ArrayLike, lat: ArrayLike, *, degrees: float, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Hold out whole blocks of a longitude-latitude grid, so that no held-out place has a neighbour in its block.

    Blocks are taken in a seeded order until `fraction` of the points is reached; the order does not depend on the
    data. The last block is taken where that comes closer. Places on two sides of a block's border can still be near.

    Args:
        lon: degrees east, [N].
        lat: degrees north, [N].
        degrees: side of a block; the columns are widened a little to fit round the Earth.
        fraction: share of points to hold out, 0 … 1.
        seed: of the order.

    Returns:
        True where held out, [N].

    Raises:
        ConfigError: all points fall into one block.
    """
    lon, lat = np.asarray(lon, np.float64), np.asarray(lat, np.float64)
    columns = max(1, int(360 / degrees))
    column = np.floor((lon + 180) / (360 / columns)).astype(np.int64) % columns
    row = np.floor((lat + 90) / degrees).astype(np.int64)
    block, member, counts = np.unique(row * columns + column, return_inverse=True, return_counts=True)
    if len(block) < 2:
        raise ConfigError(
            f"all {lon.size} places lie in one block of {degrees:g} degrees: nothing can be held out; "
            "use smaller blocks (--geo-degrees)"
        )
    order = np.argsort(address(_BLOCKS, seed, block), kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    target = fraction * lon.size
    take = before + counts[order] / 2 < target  # a block counts if its middle lies below the target
    take[0], take[-1] = True, False  # neither side may be empty
    chosen = np.zeros(len(block), np.bool_)
    chosen[order[take]] = True
    held_out: NDArray[np.bool_] = chosen[member]
    return held_out
