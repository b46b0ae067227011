"""Sites of industry: port, solar and wind farms, tanks, treatment works, mines."""

from __future__ import annotations

import numpy as np

from rsdata.sandbox.sites.pen import Pen
from rsdata.sandbox.world.canvas import bits16
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817
from rsdata.sandbox.world.things import Thing


def port(pen: Pen) -> None:
    """A basin with piers and ships, a quay with containers, sheds behind."""
    u, length, width = pen.u, pen.length, pen.width
    edge = -width * 0.15
    reach = pen.box(0, -width * 2, length * (1.5 + 3 * u[0]), width * 2 + edge)
    water = reach & (pen.b < edge)
    pen.put(water, M.TURBID if u[1] < 0.4 else M.WATER)
    yard = pen.box(0, (width + edge) / 2, length, (width - edge) / 2)
    pen.put(yard, M.CONCRETE, 0.9)
    pitch = length * (0.45 + 0.3 * u[2])
    offset = length * (u[3] - 0.5) * 0.5
    pier_a = (pen.a - offset + pitch / 2) % pitch - pitch / 2
    pier = (
        (np.abs(pier_a) < 14 + 12 * u[4])
        & (pen.b < edge)
        & (pen.b > -width * 0.95)
        & (np.abs(pen.a) < length)
    )
    pen.put(pier, M.CONCRETE, 1.0, 2)
    x, y, ships = pen.cells(pitch / 2, 95, offset - 3)
    ship_wide, ship_long = 11 / (pitch / 2), 0.4
    afloat = water & ~pier & (np.abs(pen.a) < length) & (pen.b > -width * 0.95)
    near_pier = np.abs(np.abs(pier_a) - 40 - 8 * u[5]) < 11
    hull = afloat & near_pier & (np.abs(y - 0.5) < ship_long * (1 - 0.6 * np.abs(x - 0.5) * ship_wide))
    pen.canvas.slot[hull] = (ships[hull] >> np.uint64(33)).astype(np.uint32) | np.uint32(1)
    pen.canvas.busy[hull] = 0.7
    pen.mark(hull, Thing.SHIP, ships)
    stack_x, stack_y, stacks = pen.cells(28, 9, 0, edge)
    stacked = (
        yard
        & (pen.b < width * 0.5)
        & (pen.b > edge + 14)
        & (stack_x > 0.12)
        & (stack_y > 0.25)
        & (bits16(stacks, 0) < 0.75)
    )
    colours = (M.RUST, M.ROOF_BLUE, M.ROOF_GREY, M.ROOF_WHITE, M.TRACK)
    for number, colour in enumerate(colours):
        pen.put(stacked & (np.floor(bits16(stacks, 1) * len(colours)) == number), colour, 0.95, 7)
    shed_x, shed_y, sheds = pen.cells(90, width * 0.5, 0, width * 0.5)
    shed = (
        yard
        & (pen.b > width * 0.55)
        & (shed_x > 0.1)
        & (shed_x < 0.9)
        & (shed_y < 0.75)
        & (bits16(sheds, 0) < 0.8)
    )
    pen.roof(shed, u[6], 10)
    pen.built_over(shed | stacked, 0.6 * u[7], side=150)


def solar_farm(pen: Pen) -> None:
    """Rows of panels in blocks, gravel between."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    pen.lawn(area)
    pen.grounds(area & (u[0] < 0.4), M.GRAVEL)
    block_a, block_b = 70 + 60 * u[1], 50 + 50 * u[2]
    x, y, hashed = pen.cells(block_a, block_b)
    corner = (
        (np.sign(pen.a) * (1 if u[3] < 0.5 else -1) > 0) & (pen.b > 0) & (u[4] < 0.6)
    )  # the outline is not always a rectangle
    panels = area & ~corner & (x > 0.06) & (y > 0.08) & (bits16(hashed, 0) < 0.94)
    pitch = 6 + 5 * u[5]
    rows = pen.b % pitch < pitch * 0.62
    fine = pen.canvas.res_m < pitch * 0.4
    pen.put(panels & (rows if fine else True), M.SOLAR, 1.0 + 0.25 * u[6], 1.5)
    pen.built_over(panels, 0.75 * u[7], side=block_a * 1.6)
    pen.put(area & ((x < 0.03) | (y < 0.04)), M.GRAVEL)


def wind_farm(pen: Pen) -> None:
    """White towers on gravel pads, joined by tracks; blades turn between dates."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    step_a, step_b = length * (0.5 + 0.2 * u[0]), width * (0.6 + 0.3 * u[1])
    x, y, hashed = pen.cells(step_a, step_b, step_a / 2, step_b / 2)
    a, b = (x - 0.5) * step_a, (y - 0.5) * step_b
    standing = area & (bits16(hashed, 0) < 0.95)
    pen.put(area & (np.abs(b) < 3.5) & ~(u[2] < 0.2), M.GRAVEL, 1.1)
    pen.put(standing & (np.abs(a) < 26) & (np.abs(b) < 20), M.GRAVEL, 1.1)
    angle = 2 * np.pi * bits16(hashed, 1)
    turned = np.arctan2(b, a) + angle
    spoke = np.abs(np.mod(turned, 2 * np.pi / 3) - np.pi / 3) * np.hypot(a, b) < 3.2
    tower = standing & ((np.hypot(a, b) < 6) | (spoke & (np.hypot(a, b) < 46)))
    pen.put(tower, M.PAINT, 1.0, 30)
    pen.mark(tower, Thing.WINDMILL, hashed)
    pen.built_over(tower, 0.5 * u[3])
    lean = standing & (np.abs(a + b * 0.3) < 3.5) & (b > 4) & (b < 85)
    pen.canvas.tone[lean] *= 0.45


def storage_tank(pen: Pen) -> None:
    """Round tanks in earth walls."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    pen.grounds(area, M.GRAVEL if u[0] < 0.6 else M.CONCRETE)
    step = min(length, width) * (0.6 + 0.4 * u[1])
    x, y, hashed = pen.cells(step, step, step / 2 * u[2])
    radius = np.hypot(x - 0.5, y - 0.5)
    size = 0.26 + 0.16 * bits16(hashed, 0)
    tank = area & (radius < size) & (bits16(hashed, 1) < 0.9)
    pen.put(area & (np.maximum(np.abs(x - 0.5), np.abs(y - 0.5)) > 0.47), M.SOIL, 1.1, 2)
    pen.put(tank, M.ROOF_WHITE if u[3] < 0.6 else M.METAL, 0.95, 14)
    pen.put(tank & (bits16(hashed, 2) < 0.25), M.RUST, 1.0, 14)
    pen.mark(tank, Thing.STORAGETANK, hashed)
    pen.canvas.tone[tank & (radius > size * 0.88)] *= 0.75
    pen.built_over(tank, 0.6 * u[4], side=step)


def water_treatment(pen: Pen) -> None:
    """Round clarifiers and long basins on a lawn."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    pen.lawn(area)
    pen.put(area & ((pen.a % 60 < 4) | (pen.b % 55 < 4)), M.ASPHALT, 1.2)
    step = width * (0.62 + 0.3 * u[0])
    x, y, _ = pen.cells(step, step)
    radius = np.hypot(x - 0.5, y - 0.5)
    round_side = area & (pen.a < length * (0.25 + 0.3 * u[1]))
    water = M.TURBID if u[2] < 0.7 else M.WATER
    pen.put(round_side & (radius < 0.42), M.CONCRETE, 1.1)
    pen.put(round_side & (radius < 0.38), water, 0.8 + 0.5 * u[3])
    pen.put(
        round_side
        & (radius < 0.38)
        & (np.abs((x - 0.5) * np.cos(6 * u[4]) + (y - 0.5) * np.sin(6 * u[4])) < 0.02),
        M.CONCRETE,
    )
    long_x, long_y, _ = pen.cells(60, 15)
    basin = area & (pen.a > length * (0.3 + 0.3 * u[1])) & (long_y > 0.12) & (long_x > 0.04)
    pen.put(area & (pen.a > length * (0.3 + 0.3 * u[1])), M.CONCRETE)
    pen.put(basin, M.TURBID if u[5] < 0.5 else M.WATER, 1.0)
    pen.built_over(basin, 0.5 * u[6])


def surface_mine(pen: Pen) -> None:
    """Terraces down to a floor, with a pool and haul roads; the pit grows."""
    u, length, width = pen.u, pen.length, pen.width
    depth = 1 - pen.oval(0, 0, length, width) + 0.16 * pen.wavy(2.0**8)
    pit = depth > 0.05
    colour = (M.ROCK, M.SOIL, M.SAND, M.GRAVEL)[int(u[0] * 4)]
    pen.grounds(pit, colour)
    terrace = (depth * (6 + 5 * u[1])) % 1
    pen.canvas.tone[pit] *= (0.75 + 0.45 * terrace)[pit]
    pen.put(pit & (terrace < 0.12), M.GRAVEL, 1.15)
    pen.put(depth > 0.72 + 0.2 * u[2], M.POOL if u[3] < 0.35 else M.TURBID, 0.8)
    plant = pen.box(length * 0.75, width * 0.7, length * 0.12, width * 0.1)
    pen.put(plant, M.METAL, 0.9, 10)
    pen.canvas.work[pit & (depth < 0.3)] = 0.0
