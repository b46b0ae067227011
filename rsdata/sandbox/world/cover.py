"""Natural cover: sea, rivers, lakes, desert, grass, forest, ice, and where people farm."""

from __future__ import annotations

import numpy as np

from rsdata.sandbox.world import noise as k
from rsdata.sandbox.world.canvas import Canvas
from rsdata.sandbox.world.noise import Field
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817


def paint_nature(canvas: Canvas, town: Field) -> None:
    """Cover the canvas; `town` (0 outside cities, 1 in their middle) keeps cities on land."""
    noise, ground, climate = canvas.noise, canvas.ground, canvas.climate
    res_m = canvas.res_m
    material = canvas.material
    moisture, temperature = canvas.moisture, canvas.temperature

    land = ground.upsample(climate.land) + 0.17 * noise.fbm(k.CONTINENT, 2.0**15, 8, 0.56)
    np.maximum(land, 0.5 + 0.4 * np.minimum(town, 0.6), out=land, where=town > 0.02)
    hills = noise.fbm(k.RELIEF, 2.0**15, 4, 0.5)
    relief = ground.upsample(climate.relief)
    canvas.elevation[:] = 1000 * (ground.upsample(climate.height_km) + relief * (hills + 0.8))
    canvas.elevation[land < 0.5] = 0
    patch = noise.fbm(k.PATCH, 2.0**13, 2, 0.66)
    grain = noise.fbm(k.GRAIN, max(2.0, 2.0 ** np.ceil(np.log2(8 * res_m))), 1, 0.7)
    canvas.tone[:] = 1 + 0.1 * patch + 0.07 * grain

    moisture = moisture + 0.1 * hills
    wet = moisture + 0.16 * patch
    dry_rock = (hills * relief > 0.22) | (hills > 0.9)
    material[:] = np.where(wet < 0.2, np.where(dry_rock, M.ROCK, M.SAND), M.SOIL)
    material[wet > 0.24] = M.SHRUB
    material[wet > 0.4] = M.GRASS
    # Below one tree in 8 m the crowns show, above that the stand.
    trees = noise.fbm(k.TREES, 2.0**12, 2, 0.7) + 0.35 * grain
    stand = (moisture + 0.38 * trees > 0.66) & (temperature > -7.5)
    material[stand] = M.BROADLEAF
    cold = temperature + 4.5 * hills + 2.5 * patch < 4.5
    material[stand & cold] = M.CONIFER
    canvas.tone[stand] -= 0.05
    if res_m < 8:
        canvas.height[stand] = (7 + 7 * grain + 3 * trees)[stand]
        canvas.tone[stand] += 0.22 * grain[stand]
    bare = (temperature < -8.5 + 2 * patch) & ~stand
    material[bare] = M.ROCK
    ice = temperature - 3.5 * relief * (hills + 0.5) + 1.5 * patch < -14
    material[ice] = M.ICE
    canvas.tone[ice] = 1 + 0.05 * patch[ice]
    _paint_farmland_mask(canvas, hills, relief, town)
    _paint_fresh_water(canvas, town)

    material[land < 0.515] = M.SAND
    sea = land < 0.5
    material[sea] = M.WATER
    canvas.tone[sea] = 1 + 0.03 * grain[sea]
    shoal = (land > 0.44) & sea
    if shoal.any():
        material[shoal & (noise.fbm(k.RED, 2.0**14, 32, 0.6) > 0.55 - 2 * (land - 0.44))] = M.TURBID
    wet_or_ice = sea | ice
    canvas.height[wet_or_ice] = 0
    canvas.height[material == M.SAND] = 0


def _paint_farmland_mask(canvas: Canvas, hills: Field, relief: Field, town: Field) -> None:
    """Mark what is farmed as CROP; `farms` then cuts it into fields."""
    farm = canvas.noise.fbm(k.FARM, 2.0**14, 16, 0.55)
    moisture, temperature = canvas.moisture, canvas.temperature
    fit = np.clip(1 - np.abs(moisture - 0.6) / 0.5, 0, 1) * np.clip((temperature + 1) / 7, 0, 1)
    people = canvas.ground.upsample(canvas.climate.people)
    possible = fit + 0.5 * people > 0.1
    fit *= 0.45 + 0.75 * people
    fit -= np.clip(np.abs(hills) * relief * 1.6, 0, 1) + np.clip((moisture - 0.85) * 3, 0, 1) * 0.4
    arable = possible & (fit + 0.55 * farm + 0.7 * np.minimum(town, 0.5) > 0.42)
    canvas.material[arable] = M.CROP
    canvas.height[arable] = 0


def _paint_fresh_water(canvas: Canvas, town: Field) -> None:
    noise, moisture = canvas.noise, canvas.moisture
    res_m = canvas.res_m
    if res_m > 400:
        return
    large = np.abs(noise.fbm(k.RIVER, 2.0**16, 2.0**8, 0.42))
    wide = 0.011 * np.clip(moisture - 0.12, 0, 1)
    near = large / np.maximum(wide, 1e-4)
    river = near < 1
    bank = (near < 2.2) & ~river & (moisture > 0.25)
    stream = np.abs(noise.fbm(k.STREAM, 2.0**13, 2.0**5, 0.45)) < 0.008 * np.clip(moisture - 0.2, 0, 1)
    pond = (
        (noise.fbm(k.POND, 2.0**12, 2.0**4, 0.5) > 1.22 - 0.35 * moisture) & (town < 0.3) & (moisture > 0.3)
    )
    canvas.material[bank] = np.where(moisture[bank] > 0.5, M.BROADLEAF, M.GRASS)
    fresh = river | pond | (stream & (town < 0.4))
    muddy = (canvas.redness > 0.45) & fresh
    canvas.put(fresh, M.WATER)
    canvas.put(muddy, M.TURBID)
    canvas.tone[fresh] += 0.04
