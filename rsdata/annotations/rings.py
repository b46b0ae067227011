"""Outlines as rings of corners: area, extent, the part in a window."""

from __future__ import annotations

from collections.abc import Sequence

from shards.targets import Ring


def area(ring: Ring) -> float:
    """Pixels² inside of a ring."""
    after = (*ring[1:], *ring[:1])
    return abs(sum(x * v - u * y for (x, y), (u, v) in zip(ring, after, strict=True))) / 2


def extent(rings: Sequence[Ring]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of all corners."""
    xs = [x for ring in rings for x, _ in ring]
    ys = [y for ring in rings for _, y in ring]
    return min(xs), min(ys), max(xs), max(ys)


def clip(ring: Ring, left: float, top: float, right: float, bottom: float) -> Ring:
    """The part of a ring in a rectangle, an edge of it after the other (Sutherland and Hodgman 1974); empty: none.

    Parts of a bent ring that lie apart stay joined along the edge, where they enclose nothing.
    """
    for axis, limit, sign in ((0, left, 1), (0, right, -1), (1, top, 1), (1, bottom, -1)):
        kept: list[tuple[float, float]] = []
        for here, after in zip(ring, (*ring[1:], *ring[:1]), strict=True):
            inside, next_inside = sign * (here[axis] - limit) >= 0, sign * (after[axis] - limit) >= 0
            if inside:
                kept.append(here)
            if inside != next_inside:
                share = (limit - here[axis]) / (after[axis] - here[axis])
                other = here[1 - axis] + share * (after[1 - axis] - here[1 - axis])
                kept.append((limit, other) if axis == 0 else (other, limit))
        ring = tuple(kept)
    return ring


def ring_of(flat: Sequence[float]) -> Ring:
    """Corners of `x0 y0 x1 y1 …`, the last not repeating the first; empty: fewer than three, or half a one."""
    if len(flat) % 2:
        return ()
    corners = list(zip(flat[::2], flat[1::2], strict=True))
    while len(corners) > 1 and corners[0] == corners[-1]:
        corners.pop()
    return tuple(corners) if len(corners) >= 3 else ()
