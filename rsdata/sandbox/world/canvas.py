"""Canvas: what lies on each pixel, whatever the date; the painters fill it and the renderer lights it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world.climate import Climate
from rsdata.sandbox.world.grid import FACE_M, STEP_BITS, Ground
from rsdata.sandbox.world.noise import Field, Noise
from rsdata.sandbox.world.spectra import Material

Flat = NDArray[np.int64]


@dataclass
class Canvas:
    """Arrays [H, W] over one ground."""

    ground: Ground
    noise: Noise
    climate: Climate
    material: NDArray[np.uint8]
    """Codes of Material."""
    tone: Field
    """Factor on the material's reflectance, about 0.6 to 1.4."""
    height: Field
    """Metres above the ground: roofs, crowns; casts shadows."""
    peak: Field
    """Day of the year when a crop is greenest."""
    spread: Field
    """Days from that peak to a third of the green; 0 for bare."""
    slot: NDArray[np.uint32]
    """Hash of the parking or lane slot that the pixel lies in; 0 for none."""
    busy: Field
    """Chance that the slot holds a vehicle, 0 to 1."""
    elevation: Field
    """Metres, with hills."""
    work: Field
    """Progress of a building site at which the pixel is built, 0 to 1; 0 for what always stands."""
    things: NDArray[np.uint64] | None = None
    """Number of the thing on each pixel, 0 for none (`things.py`); None where nobody asks."""

    @cached_property
    def temperature(self) -> Field:
        """Mean of the year, °C."""
        return self.ground.upsample(self.climate.temperature)

    @cached_property
    def swing(self) -> Field:
        """Half of summer minus winter, °C; below 0 in the south."""
        return self.ground.upsample(self.climate.swing)

    @cached_property
    def moisture(self) -> Field:
        """0 to about 1."""
        return self.ground.upsample(self.climate.moisture)

    @cached_property
    def redness(self) -> Field:
        """0 to 1."""
        return self.ground.upsample(self.climate.redness)

    @cached_property
    def face_metres(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Face code and the two coordinates of each pixel on it, metres; the frame of field borders."""
        scale = FACE_M * 2.0**-STEP_BITS
        shape = self.ground.shape
        code = np.zeros(shape, np.int64)
        u, v = np.zeros(shape), np.zeros(shape)
        for face in self.ground.faces:
            where = slice(None) if face.mask is None else face.mask
            code[where] = face.axis[0] * 2 + (face.axis[1] > 0)
            u[where] = face.u_steps[where] * scale
            v[where] = face.v_steps[where] * scale
        return code, u, v

    def put(
        self, where: NDArray[np.bool_] | Flat, material: Material, tone: float = 1.0, height: float = 0.0
    ) -> None:
        """Cover pixels (mask, or flat indices) with one material; crops, vehicles and crowns below are gone."""
        if where.dtype != np.bool_:
            mask = np.zeros(self.material.size, bool)
            mask[where] = True
            where = mask.reshape(self.material.shape)
        self.material[where] = material
        self.tone[where] = tone
        self.height[where] = height
        self.slot[where] = 0
        self.work[where] = 0
        if self.things is not None:
            self.things[where] = 0

    @property
    def res_m(self) -> float:
        """Side of a pixel, metres."""
        return self.ground.res_m


def blank(ground: Ground, noise: Noise, climate: Climate) -> Canvas:
    """A canvas of bare soil."""
    shape = ground.shape
    zeros = [np.zeros(shape, np.float32) for _ in range(6)]
    return Canvas(
        ground,
        noise,
        climate,
        np.full(shape, Material.SOIL, np.uint8),
        np.ones(shape, np.float32),
        zeros[0],
        zeros[1],
        zeros[2],
        np.zeros(shape, np.uint32),
        zeros[3],
        zeros[4],
        zeros[5],
    )


def bits16(hashed: NDArray[np.uint64], part: int) -> Field:
    """A quarter (0 to 3) of each 64-bit hash as a float32 in [0, 1)."""
    return ((hashed >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.float32) * np.float32(2.0**-16)
