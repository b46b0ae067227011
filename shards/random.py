"""Random numbers that are a pure function of their address.

Nothing carries a state: `uniform(seed, epoch, sample, count=4)` is the same four numbers on any worker, rank or
machine, in any order of asking. The mixer is splitmix64's finaliser (Steele, Lea and Flood 2014), applied once for
each part of the address.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64 finaliser, elementwise."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * _MIX_1
        x = (x ^ (x >> np.uint64(27))) * _MIX_2
        return x ^ (x >> np.uint64(31))


def stream(name: str) -> int:
    """A 63-bit number for a name, to keep two uses of one address apart: `stream("partner")`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") >> 1


def address(*parts: ArrayLike) -> NDArray[np.uint64]:
    """Hash integers (arrays broadcast against each other) to one uint64 each."""
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            value = np.asarray(part).astype(np.int64).astype(np.uint64)
            state = mix(state * np.uint64(3) + value + _GOLDEN)
    return state


def bits(*parts: ArrayLike, count: int) -> NDArray[np.uint64]:
    """`count` uint64 for each address, shape [..., count]."""
    base = address(*parts)
    with np.errstate(over="ignore"):
        counters = (np.arange(1, count + 1, dtype=np.uint64)) * _GOLDEN
        return mix(base[..., None] + counters)


def uniform(*parts: ArrayLike, count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each address, shape [..., count], 53 bits each."""
    return (bits(*parts, count=count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def choice(sizes: ArrayLike, *parts: ArrayLike) -> NDArray[np.int64]:
    """One integer in [0, size) for each address and size (size ≥ 1)."""
    u = uniform(*parts, count=1)[..., 0]
    sizes = np.asarray(sizes, np.int64)
    out: NDArray[np.int64] = np.minimum((u * sizes).astype(np.int64), sizes - 1)
    return out


def generator(*parts: int) -> np.random.Generator:
    """A numpy generator at an address, for code that draws an unknown number of values."""
    return np.random.Generator(np.random.Philox(key=int(address(*parts))))


def permute(index: ArrayLike, size: int, *parts: ArrayLike, inverse: bool = False) -> NDArray[np.int64]:
    """Where a keyed random permutation of range(size) sends each index; no table is made.

    A balanced Feistel network over the next even power of two, walked until the value falls below `size` (Black and
    Rogaway 2002, "cycle walking"). Time and memory are those of `index`, whatever `size` is. Keys may be arrays that
    broadcast against `index`, so many permutations of the same size can be asked at once.

    Args:
        index: positions in [0, size).
        size: how many elements the permutation has, 1 … 2**62.
        parts: the address of the key.
        inverse: answer where each value came from instead.
    """
    index = np.asarray(index, np.int64)
    if size <= 1:
        return np.zeros_like(index)
    key = np.broadcast_to(address(*parts), index.shape).ravel()
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)

    def rounds(x: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
        left, right = x >> half, x & mask
        with np.errstate(over="ignore"):
            for turn in range(1, 7) if not inverse else range(6, 0, -1):
                if inverse:
                    left, right = right ^ (mix(left + key + np.uint64(turn) * _GOLDEN) & mask), left
                else:
                    left, right = right, left ^ (mix(right + key + np.uint64(turn) * _GOLDEN) & mask)
        return (left << half) | right

    out = rounds(index.ravel().astype(np.uint64), key)
    outside = np.flatnonzero(out >= size)
    while outside.size:
        out[outside] = rounds(out[outside], key[outside])
        outside = outside[out[outside] >= size]
    return out.astype(np.int64).reshape(index.shape)
