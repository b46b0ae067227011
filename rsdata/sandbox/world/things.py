"""Things: objects on the ground that can be told apart, such as houses and ships; the truth that detectors look for."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from shards.random import address

_KIND_BITS = 8


class Thing(IntEnum):
    """What a thing is."""

    BUILDING = 1
    AIRPLANE = 2
    SHIP = 3
    STORAGETANK = 4
    WINDMILL = 5


def numbered(thing: Thing, hashed: NDArray[np.uint64] | int) -> NDArray[np.uint64]:
    """Numbers for the pixels of things: a hash tells two of one kind apart, the low byte is the kind."""
    spread = address(np.asarray(hashed, np.uint64).view(np.int64))
    return (spread >> np.uint64(_KIND_BITS) << np.uint64(_KIND_BITS)) | np.uint64(thing)


def kind_of(things: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """The kind of the thing on each pixel; 0 for none."""
    return (things & np.uint64((1 << _KIND_BITS) - 1)).astype(np.uint8)
