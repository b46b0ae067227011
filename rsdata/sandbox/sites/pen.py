"""Pen: draws shapes in a site's own frame of metres, exactly, at any resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world import noise as k
from rsdata.sandbox.world.canvas import Canvas, bits16
from rsdata.sandbox.world.cities import Style
from rsdata.sandbox.world.noise import Field
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817
from rsdata.sandbox.world.things import Thing, numbered
from shards.random import address

Mask = NDArray[np.bool_]
_SLOTS, _CELLS = 611, 612


@dataclass
class Pen:
    """The frame of one site on one canvas."""

    canvas: Canvas
    a: Field
    """Metres along the site's length, from its middle, [H, W]."""
    b: Field
    """Metres across."""
    length: float
    """Half length of the site, metres."""
    width: float
    """Half width."""
    style: Style
    u: NDArray[np.float64]
    """Numbers in [0, 1) that decide the details."""
    key: int

    def box(self, a: float, b: float, half_a: float, half_b: float) -> Mask:
        """A rectangle round (a, b)."""
        inside: Mask = (np.abs(self.a - a) < half_a) & (np.abs(self.b - b) < half_b)
        return inside

    def oval(self, a: float, b: float, radius_a: float, radius_b: float) -> Field:
        """1 on the ellipse, less inside."""
        return np.asarray(np.hypot((self.a - a) / radius_a, (self.b - b) / radius_b), np.float32)

    def track(self, straight: float, radius: float) -> Field:
        """Distance in metres from the spine of a stadium shape (two straights, two half circles), minus `radius`."""
        return np.asarray(np.hypot(np.maximum(np.abs(self.a) - straight, 0), self.b) - radius, np.float32)

    def wavy(self, wavelength_m: float, gain: float = 0.5) -> Field:
        """Ground noise, about -1 to 1."""
        return self.canvas.noise.fbm(k.POND, wavelength_m, max(wavelength_m / 8, 1), gain)

    def put(self, where: Mask, material: M, tone: float = 1.0, height: float = 0.0) -> None:
        """Cover with one material."""
        self.canvas.put(where, material, tone, height)

    def grounds(self, where: Mask, material: M, rough: float = 0.06) -> None:
        """Cover with one material and keep some of the ground's own unevenness."""
        tone = self.canvas.tone[where]
        self.canvas.put(where, material)
        self.canvas.tone[where] = 1 + (tone - 1) * (rough / 0.1)

    def roof(self, where: Mask, choice: float, height: float) -> None:
        """A building under a roof of the region."""
        roofs = self.style.roofs
        self.put(where, roofs[int(choice * len(roofs))], 0.85 + 0.3 * (choice * 7 % 1), height)
        self.mark(where, Thing.BUILDING, np.full(where.shape, self.key, np.uint64))

    def mark(self, where: Mask, thing: Thing, hashed: NDArray[np.uint64]) -> None:
        """Things of one kind; a hash tells those apart that touch."""
        if self.canvas.things is not None:
            self.canvas.things[where] = numbered(thing, hashed[where])

    def cells(
        self, side_a: float, side_b: float, start_a: float = 0.0, start_b: float = 0.0
    ) -> tuple[Field, Field, NDArray[np.uint64]]:
        """Cut the plane into cells: place in the cell (0 to 1, twice) and a hash for each cell."""
        x, y = (self.a - start_a) / side_a, (self.b - start_b) / side_b
        i, j = np.floor(x), np.floor(y)
        hashed = address(self.key, _CELLS, round(side_a * 8), i.astype(np.int64), j.astype(np.int64))
        return x - i, y - j, hashed

    def slots(self, where: Mask, along: float, across: float, busy: float) -> None:
        """Parking slots of this size (metres), each taken or empty on a date."""
        x, y, hashed = self.cells(along, across)
        # A vehicle leaves a gap to its neighbours; where a pixel holds more than one, the lot only looks speckled.
        inside = where & (x > 0.12) & (x < 0.88) & (y > 0.1) & (y < 0.9)
        self.canvas.slot[inside] = (hashed[inside] >> np.uint64(33)).astype(np.uint32) | np.uint32(1)
        self.canvas.busy[inside] = busy * (0.6 + 0.4 * bits16(hashed[inside], 0))

    def built_over(self, where: Mask, until: float, phases: int = 3, side: float = 0.0) -> None:
        """The parts under `where` were built one after another, the last when a share `until` of the years had gone."""
        if side > 0:
            _, _, hashed = self.cells(side, side)
            self.canvas.work[where] = until * np.ceil(bits16(hashed[where], 3) * phases) / phases
        else:
            self.canvas.work[where] = until

    def trees(self, where: Mask, share: float) -> None:
        """Crowns on some of an area."""
        crowns = where & (self.canvas.noise.fbm(k.TREES, 2.0**5, 2, 0.9) > 1.0 - 1.6 * share)
        cold = self.canvas.temperature < 6
        self.put(crowns & ~cold, M.BROADLEAF, 0.95, 6)
        self.put(crowns & cold, M.CONIFER, 0.95, 6)

    def lawn(self, where: Mask) -> None:
        """Grass where it rains, bare soil where not."""
        dry = self.canvas.moisture < 0.27
        self.grounds(where & ~dry, M.GRASS)
        self.grounds(where & dry, M.SAND if self.style.yard == M.SAND else M.SOIL)
