"""Smooth random fields on the sphere that do not know which grid asks.

The sphere is cut into the six faces of a cube (equal-angle). A field of wavelength w has one hashed value at each node
of a square lattice on those faces, and is interpolated between nodes (value noise, eased). A node is hashed by its place on the
cube in three dimensions, so two faces agree about the nodes of their common edge, and the field has no seam: not at a
UTM border, not at the antimeridian, not at a pole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world.grid import FACE_M, STEP_BITS, Face, Ground
from shards.random import address, mix

Field = NDArray[np.float32]

# A lattice of level k has 2**k cells from the middle of a face to its edge. Coordinates are whole steps of 1/32 of
# a cell of the finest level; OpenCV's remap takes them as such, so tiles agree to the bit.
_FRACTION_BITS = 5
FINEST = STEP_BITS - _FRACTION_BITS
_SIGNED = np.float32(2.0**-23)
_A, _B, _C = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)

# Keys of noise fields; any change of a number is another planet.
CONTINENT, WEATHER, RELIEF, TONE, RED, RIVER, PATCH, GRAIN, FARM, TREES, TOWN, STREAM, POND, BEND, RAIN = (
    range(1, 16)
)
FAMILY_OF = {CONTINENT: 101, RELIEF: 101, RIVER: 101, STREAM: 101, RED: 101, BEND: 101}
FAMILY_OF |= {PATCH: 102, FARM: 102, TOWN: 102, POND: 102, WEATHER: 102, TREES: 103, GRAIN: 103, TONE: 103}
ONE = 14  # from 300 m on, two families are one
SHARED = 10
"""Octaves from this level on (5 km and shorter) are shared by the fields of a family, to compute them once."""


def level_for(wavelength_m: float) -> int:
    """The level whose cells are nearest to a wavelength in metres."""
    return int(np.clip(round(np.log2(FACE_M / wavelength_m)), 0, FINEST))


def wavelength(level: int) -> float:
    """Side of a cell of a level, metres."""
    return FACE_M / 2.0**level


def octave(ground: Ground, level: int, *key: int, shift_m: tuple[float, float] = (0.0, 0.0)) -> Field:
    """One band of value noise, about -1 to 1, float32 [H, W], at every point of `ground`.

    Args:
        ground: the points.
        level: which lattice, 0 (5,000 km) to FINEST (0.6 m).
        key: address of the field.
        shift_m: look this far away along the face's axes instead (for the shadows of clouds).
    """
    out: Field | None = None
    for face in ground.faces:
        found = _lookup(face, level, shift_m, exact=ground.parent is None)
        values = found.interpolate(_node_values(face, level, found.u, found.v, _salt(*key, level)))
        if face.mask is None:
            return values
        out = values if out is None else np.where(face.mask, values, out)
    assert out is not None
    return out


@lru_cache(maxsize=4096)
def _salt(*key: int) -> np.uint64:
    return np.uint64(address(*key))


@dataclass(frozen=True)
class _Lookup:
    """Where the points of a face fall in the lattice of one level; the same for every key."""

    u: tuple[int, int]
    """First node and one past the last."""
    v: tuple[int, int]
    cells: NDArray[np.int16] | None
    """[H, W, 2], column and row in the block of nodes, for pixels."""
    fraction: NDArray[np.uint16] | None
    """Place in the cell as OpenCV takes it, for pixels."""
    taps: NDArray[np.int64] | None
    """Flat indices of the 4 nodes round each point, [H, W, 4], for knots."""
    weights: NDArray[np.float32] | None

    def interpolate(self, block: Field) -> Field:
        """Values at the points, float32 [H, W]."""
        import cv2

        if self.taps is not None and self.weights is not None:
            return np.asarray(np.vecdot(block.ravel()[self.taps], self.weights), np.float32)
        return np.asarray(
            cv2.remap(block, self.cells, self.fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            np.float32,
        )


def _lookup(face: Face, level: int, shift_m: tuple[float, float], *, exact: bool) -> _Lookup:
    key = (level, shift_m)
    if key in face.lookups:
        found: _Lookup = face.lookups[key]
        return found
    cell_bits = STEP_BITS - level
    mask = np.int32(2**cell_bits - 1)
    places, nodes, axes = [], [], []
    for axis, steps in enumerate((face.u_steps, face.v_steps)):
        shift = np.int32(round(shift_m[axis] / FACE_M * 2.0**STEP_BITS))
        low, high = int(face.low[axis] + shift), int(face.high[axis] + shift)
        here = steps + shift if shift else steps
        if face.mask is not None:  # points of other faces may lie far outside this one
            here = np.clip(here, low, high)
        first = low >> cell_bits
        axes.append((first, (high >> cell_bits) + 2))
        nodes.append((here >> cell_bits) - np.int32(first))
        places.append(here & mask)
    cells = fraction = taps = weights = None
    if exact:
        # Pixels round to 1/32 of a cell, which is less than a pixel; here it would cut terraces into long waves.
        u, v = (_ease((place * 2.0**-cell_bits).astype(np.float32)) for place in places)
        weights = np.stack([(1 - v) * (1 - u), (1 - v) * u, v * (1 - u), v * u], axis=-1)
        width = axes[0][1] - axes[0][0]
        around = np.array([0, 1, width, width + 1])
        taps = (nodes[1].astype(np.int64) * width + nodes[0])[..., None] + around
    else:
        cells = (nodes[1] << 16 | nodes[0]).view(np.int16).reshape(*nodes[0].shape, 2)
        drop = cell_bits - _FRACTION_BITS
        fraction = _EASED[places[1] >> drop << _FRACTION_BITS | places[0] >> drop]
    face.lookups[key] = found = _Lookup(axes[0], axes[1], cells, fraction, taps, weights)
    return found


def _ease(t: NDArray[Any]) -> NDArray[Any]:
    """Smooth step with flat first and second derivatives at both ends (Perlin 2002)."""
    eased: NDArray[Any] = t * t * t * (t * (t * 6 - 15) + 10)
    return eased


_EASED = np.add.outer(
    *(
        np.rint(_ease(np.arange(32, dtype=np.float32) / 32) * 32).astype(np.uint16).clip(0, 31)
        * np.uint16(scale)
        for scale in (32, 1)
    )
).ravel()
"""OpenCV's index of a place in a cell (row * 32 + column) -> the eased one."""


def _node_values(face: Face, level: int, us: tuple[int, int], vs: tuple[int, int], salt: np.uint64) -> Field:
    """Hashed values of a block of nodes, float32 [V, U], in -1 … 1.

    A node is hashed by its three coordinates on the cube; a node of an edge is the same from both faces.
    """
    third, sign = face.axis
    weights = (_A, _B, _C)
    u_axis, v_axis = (axis for axis in range(3) if axis != third)
    rows = mix(np.arange(*vs).astype(np.uint64) * weights[v_axis] + salt)[:, None]
    columns = mix(np.arange(*us).astype(np.uint64) * weights[u_axis] + salt)[None, :]
    depth = mix(np.array([sign * 2**level]).astype(np.uint64) * weights[third] + salt)
    hashed = mix(rows + columns + depth)
    return (hashed >> np.uint64(40)).astype(np.float32) * _SIGNED - np.float32(1)


class Noise:
    """Fractal noise over one piece of ground; octaves are computed once and shared by all fields of a key.

    Octaves much longer than a pixel are computed at the knots (one point in 8 by 8 pixels) and interpolated; octaves
    shorter than two pixels are left out, as a sensor of that resolution would average them away.
    """

    def __init__(self, ground: Ground, seed: int) -> None:
        self.ground = ground
        self.seed = seed
        self._fine: dict[tuple[int, int], Field] = {}
        self._coarse: dict[tuple[int, int], Field] = {}

    def fbm(self, key: int, longest_m: float, shortest_m: float, gain: float = 0.55) -> Field:
        """Sum of octaves from `longest_m` down by halves to `shortest_m`; the first has amplitude 1, then times gain.

        Returns:
            float32 [H, W].
        """
        total, weights = self._split(key, longest_m, shortest_m, gain)
        field = self.ground.upsample(total)
        for level, name, weight in weights:
            field += weight * self._octave(name, level)
        return field

    def fbm_knots(self, key: int, longest_m: float, shortest_m: float, gain: float = 0.55) -> Field:
        """The same at the knots only: what is left out is shorter than 32 pixels."""
        return self._split(key, longest_m, shortest_m, gain)[0]

    def _split(
        self, key: int, longest_m: float, shortest_m: float, gain: float
    ) -> tuple[Field, list[tuple[int, int, np.float32]]]:
        knots = self.ground.knots
        total = np.zeros(knots.shape, np.float32)
        fine = []
        res_m = self.ground.res_m
        for step, level in enumerate(range(level_for(longest_m), level_for(shortest_m) + 1)):
            length = wavelength(level)
            fade = min(1.0, length / res_m - 1.5)
            if fade <= 0:
                break
            weight = np.float32(gain**step * fade)
            name = key if level < SHARED else FAMILY_OF.get(key, key)
            if level >= ONE and name == 102:
                name = 101
            if length >= 32 * res_m:
                if (name, level) not in self._coarse:
                    self._coarse[name, level] = octave(knots, level, self.seed, name)
                total += weight * self._coarse[name, level]
            else:
                fine.append((level, name, weight))
        return total, fine

    def _octave(self, name: int, level: int) -> Field:
        if (name, level) not in self._fine:
            self._fine[name, level] = octave(self.ground, level, self.seed, name)
        return self._fine[name, level]
