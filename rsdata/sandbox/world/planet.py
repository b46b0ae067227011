"""World: any place, date, band and grid of the seeded planet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.world.canvas import Canvas, blank
from rsdata.sandbox.world.climate import climate
from rsdata.sandbox.world.cover import paint_nature
from rsdata.sandbox.world.farms import paint_farms
from rsdata.sandbox.world.grid import Grid, Ground
from rsdata.sandbox.world.light import Light, light_of, shadow_px, standing, vehicle_colours
from rsdata.sandbox.world.noise import Field, Noise
from rsdata.sandbox.world.sky import Moment, cloud_field
from rsdata.sandbox.world.spectra import COVER_OF, band_tables, path_radiance
from rsdata.sandbox.world.streets import paint_streets, town_levels
from shards.random import bits, stream, uniform

_SENSOR = stream("sandbox sensor")


class Overlay(Protocol):
    """Something that stands on the ground: an airport, a stadium."""

    def paint(self, canvas: Canvas) -> None:
        """Draw onto the canvas, in metres round the overlay's own place."""


@dataclass(frozen=True)
class World:
    """A seeded Earth; the same ground gives the same pixels, whatever grid, tile or order it is asked in."""

    seed: int = 0

    def scene(self, grid: Grid, overlays: Sequence[Overlay] = (), *, things: bool = False) -> Scene:
        """What lies on a grid; ask it for any number of dates. With `things` it knows objects apart."""
        # The margin lets roofs outside the picture throw their shadows into it.
        margin = shadow_px(grid.res_m)
        ground = Ground.of(grid.padded(margin))
        noise = Noise(ground, self.seed)
        canvas = blank(ground, noise, climate(ground, self.seed))
        if things:
            canvas.things = np.zeros(ground.shape, np.uint64)
        level, which = town_levels(ground, noise)
        paint_nature(canvas, level)
        paint_farms(canvas, self.seed)
        paint_streets(canvas, level, which, self.seed)
        for overlay in overlays:
            overlay.paint(canvas)
        return Scene(self, grid, canvas, margin)

    def reflectance(
        self, grid: Grid, time: datetime, bands: Sequence[str], overlays: Sequence[Overlay] = ()
    ) -> NDArray[np.float32]:
        """Top-of-atmosphere reflectance (0 to about 1), or backscatter in dB for vv and vh; [C, H, W]."""
        return self.scene(grid, overlays).reflectance(time, bands)

    def rgb(
        self, grid: Grid, time: datetime, acquisition: int = 0, overlays: Sequence[Overlay] = ()
    ) -> NDArray[np.uint8]:
        """A picture for people, [H, W, 3]; `acquisition` draws the sensor's noise, gain and colour cast."""
        return self.scene(grid, overlays).rgb(time, acquisition)

    def cloud(self, grid: Grid, time: datetime) -> NDArray[np.float32]:
        """Opacity of clouds, 0 to 1, [H, W]."""
        ground = Ground.of(grid)
        return cloud_field(ground, climate(ground, self.seed), self.seed, Moment.of(time))

    def landcover(self, grid: Grid, overlays: Sequence[Overlay] = ()) -> NDArray[np.uint8]:
        """Positions in COVER, [H, W]."""
        return self.scene(grid, overlays).landcover()


@dataclass
class Scene:
    """One grid with all that lies on it."""

    world: World
    grid: Grid
    canvas: Canvas
    margin: int

    def _crop(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values[..., self.margin : -self.margin, self.margin : -self.margin]

    def landcover(self) -> NDArray[np.uint8]:
        """Positions in COVER, [H, W]."""
        cropped = self.canvas.material[self.margin : -self.margin, self.margin : -self.margin]
        return np.asarray(COVER_OF[cropped], np.uint8)

    def things(self, time: datetime) -> NDArray[np.uint64]:
        """Number of the thing on each pixel, 0 for none, [H, W]; of a scene that was asked to know things."""
        found = standing(self.canvas, self.world.seed, Moment.of(time))
        return found[self.margin : -self.margin, self.margin : -self.margin]

    def reflectance(self, time: datetime, bands: Sequence[str]) -> NDArray[np.float32]:
        """As World.reflectance."""
        light = light_of(self.canvas, self.world.seed, Moment.of(time))
        return np.stack([self._crop(self._band(light, band)) for band in bands])

    def rgb(self, time: datetime, acquisition: int = 0) -> NDArray[np.uint8]:
        """As World.rgb."""
        moment = Moment.of(time)
        light = light_of(self.canvas, self.world.seed, moment)
        planes = [self._crop(self._band(light, band)) for band in ("red", "green", "blue")]
        image = np.stack(planes, axis=-1)
        key = (self.world.seed, _SENSOR, moment.key, acquisition)
        draw = uniform(*key, count=5)
        gain = (2.5 * (0.86 + 0.3 * draw[0]) * (1 + 0.07 * (draw[1:4] - 0.5))).astype(np.float32)
        image = np.sqrt(np.clip(image * gain, 0, 1)) * 255
        image += _grain(key, image.shape) * np.float32(1.0 + 3.0 * draw[4])
        return np.asarray(np.clip(image + 0.5, 0, 255), np.uint8)

    def _band(self, light: Light, band: str) -> Field:
        canvas = self.canvas
        base, green, red = band_tables(band)
        values = base[light.material]
        values += green[light.material] * light.green
        values += red[light.material] * canvas.redness
        if band in ("vv", "vh"):
            return values + 6 * (canvas.tone - 1) + 8 * (light.shade - 1)
        values *= canvas.tone
        if light.cars.size:
            values.ravel()[light.cars] = vehicle_colours(light, band)
        if light.snow is not None:
            values += (base[11] - values) * light.snow
        values *= light.shade
        values += (np.float32(path_radiance(band)) - values * np.float32(0.8)) * light.haze
        if light.cloud is not None:
            thin = np.float32(0.05 if band == "cirrus" else 0.45 if band.startswith("swir") else 0.3)
            bright = thin * (1 + np.float32(0.9) * light.cloud)
            values += (bright - values) * light.cloud
        return np.clip(values, 0, 1.2)


def _grain(key: tuple[int, ...], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Sensor noise about -1 … 1, nearly normal: the sum of the four bytes of hashed words; [H, W, 3]."""
    count = int(np.prod(shape))
    words = bits(*key, 1, count=(count + 1) // 2).view(np.uint32)[:count]
    pairs = (words & np.uint32(0x00FF00FF)) + ((words >> np.uint32(8)) & np.uint32(0x00FF00FF))
    total = ((pairs & np.uint32(0xFFFF)) + (pairs >> np.uint32(16))).astype(np.float32)
    return (total.reshape(shape) - 510) * np.float32(1 / 148)
