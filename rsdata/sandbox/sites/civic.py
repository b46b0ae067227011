"""Sites of a town: airport, stadium, parking, race track, housing."""

from __future__ import annotations

import numpy as np

from rsdata.sandbox.sites.pen import Pen
from rsdata.sandbox.world.canvas import bits16
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817
from rsdata.sandbox.world.things import Thing


def airport(pen: Pen) -> None:
    """Runways on a lawn, taxiway, apron, terminal, parked aircraft."""
    u, length, width = pen.u, pen.length, pen.width
    pen.lawn(pen.box(0, 0, length, width))
    surface = M.CONCRETE if u[0] < 0.4 else M.ASPHALT
    wide = 22 + 12 * u[1]
    runway_b = -width * (0.35 + 0.3 * u[2])
    side = 1 if u[3] < 0.5 else -1
    runway_b *= side
    runways = [pen.box(0, runway_b, length * 0.97, wide)]
    if u[4] < 0.35:  # a second runway across
        angle = 0.35 + 0.8 * u[5]
        along = pen.a * np.cos(angle) + pen.b * np.sin(angle)
        across = pen.b * np.cos(angle) - pen.a * np.sin(angle)
        runways.append(
            (np.abs(along) < width * 1.02) & (np.abs(across) < wide * 0.8) & pen.box(0, 0, length, width)
        )
    taxi_b = runway_b + side * (wide + 50)
    for place in (-0.9, -0.3, 0.35, 0.9):
        pen.put(
            pen.box(place * length, (taxi_b + runway_b) / 2, 10, abs(taxi_b - runway_b) / 2 + 10),
            M.ASPHALT,
            1.15,
        )
    pen.put(pen.box(0, taxi_b, length * 0.93, 11), M.ASPHALT, 1.15)
    for runway in runways:
        pen.put(runway, surface, 0.9)
    dashes = (np.abs(pen.b - runway_b) < 1.5) & (pen.a % 60 < 35) & runways[0]
    bars = runways[0] & (np.abs(np.abs(pen.a) - length * 0.92) < 20) & (pen.b % 6 < 3)
    pen.put(dashes | bars, M.PAINT)
    apron_a, apron_b = length * (0.5 * u[6] - 0.25), taxi_b + side * width * 0.3
    apron = pen.box(apron_a, apron_b, length * 0.3, width * 0.27)
    pen.put(apron, M.CONCRETE)
    pen.built_over(apron & (pen.a > apron_a), 0.6 * u[7])
    hall_b = apron_b + side * width * 0.28
    pen.roof(pen.box(apron_a, hall_b, length * 0.22, width * 0.07), u[8], 14)
    pen.put(pen.box(apron_a - length * 0.45, apron_b, length * 0.08, width * 0.14), M.ROOF_WHITE, 0.9, 12)
    x, y, planes = pen.cells(48, 52, apron_a, apron_b)
    body = (np.abs(x - 0.5) < 0.06) & (np.abs(y - 0.5) < 0.4)
    wings = (np.abs(y - 0.45) < 0.07) & (np.abs(x - 0.5) < 0.4)
    parked = apron & (body | wings) & (np.abs(pen.b - hall_b) < width * 0.35)
    pen.canvas.slot[parked] = (planes[parked] >> np.uint64(33)).astype(np.uint32) | np.uint32(1)
    pen.canvas.busy[parked] = 0.5
    pen.mark(parked, Thing.AIRPLANE, planes)


def stadium(pen: Pen) -> None:
    """Pitch, running track or not, stands with or without a roof, parking round it."""
    u, length, width = pen.u, pen.length, pen.width
    pen.put(pen.box(0, 0, length, width), M.ASPHALT if u[0] < 0.7 else M.CONCRETE, 1.1)
    pen.slots(pen.box(0, 0, length, width) & (pen.b % 16 < 10), 3, 5.2, 0.35)
    straight = length * 0.30
    inner = min(width * 0.48, 46.0 + 12 * u[1])
    depth = (width * 0.9 - inner) * (0.55 + 0.4 * u[2])
    ring = pen.track(straight, inner)
    stands = (ring > 0) & (ring < depth)
    open_side = u[3] < 0.45
    if open_side:
        stands &= np.abs(pen.b) > inner * 0.75
    roofed = stands & (ring > depth * (0.25 + 0.5 * u[4]))
    seats = (M.CONCRETE, M.ROOF_BLUE, M.TRACK, M.ROOF_GREY)[int(u[5] * 4)]
    pen.put(stands, seats, 0.9, 8)
    pen.put(roofed, M.ROOF_WHITE if u[6] < 0.6 else M.ROOF_GREY, 0.95, 22)
    pen.built_over(roofed, 0.5 * u[7] if u[8] < 0.5 else 0)
    pen.put(ring <= 0, M.TRACK if u[9] < 0.6 else M.GRAVEL)
    pitch = pen.box(0, 0, straight + inner * 0.5, inner * 0.62)
    pen.put(pitch, M.TURF)
    pen.canvas.tone[pitch] = np.where((pen.a[pitch] % 16) < 8, 1.1, 0.9)
    pen.put(pitch & ((np.abs(pen.a) < 0.7) | (np.abs(np.hypot(pen.a, pen.b) - 9) < 0.7)), M.PAINT)


def parking_lot(pen: Pen) -> None:
    """Rows of vehicles on asphalt beside a large roof."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    pen.put(area, M.ASPHALT if u[0] < 0.75 else M.CONCRETE, 0.85 + 0.4 * u[1])
    hall = pen.box(length * (0.75 if u[2] < 0.5 else -0.75), 0, length * 0.22, width * 0.85)
    row = pen.b % 17
    rows = area & ~hall & (((row > 1) & (row < 6.2)) | ((row > 6.8) & (row < 12)))
    pen.put(rows & (pen.a % 2.9 < 0.25), M.PAINT)
    pen.slots(rows, 2.9, 5.6, 0.25 + 0.65 * u[3])
    islands = area & (pen.a % 45 < 3.5) & (row < 12.5)
    pen.lawn(islands)
    if u[4] < 0.5:
        pen.trees(islands, 0.6)
    if u[5] < 0.6:
        pen.roof(hall, u[6], 9)
        pen.built_over(hall, 0.5 * u[7])


def race_track(pen: Pen) -> None:
    """A closed circuit round a lawn, with stands on one side."""
    u, length, width = pen.u, pen.length, pen.width
    pen.lawn(pen.box(0, 0, length, width))
    radius = width * 0.8
    bend = 1 - 0.35 * u[0] * np.exp(-(((pen.a - length * 0.3) / (length * 0.25)) ** 2)) * (pen.b > 0)
    ring = np.hypot(np.maximum(np.abs(pen.a) - (length - width) * 0.9, 0), pen.b) - radius * bend
    wide = 8 + 9 * u[1]
    surface = (M.ASPHALT, M.SOIL, M.SAND)[int(u[2] * 2.99)]
    pen.put(np.abs(ring) < wide, surface, 1.05)
    pen.put(np.abs(np.abs(ring) - wide) < 1.2, M.PAINT)
    if u[3] < 0.5:
        pen.put(pen.oval(0, 0, length * 0.2, width * 0.25) < 1, M.WATER)
    stand = pen.box(0, -radius - wide - 14, length * 0.3, 9)
    pen.put(stand, M.ROOF_WHITE if u[4] < 0.5 else M.ROOF_GREY, 0.95, 12)
    pen.built_over(stand, 0.5 * u[5])
    lot = pen.box(0, radius * 0.3, length * 0.3, radius * 0.15)
    pen.put(lot, M.ASPHALT, 1.2)
    pen.slots(lot & (pen.b % 12 < 8), 3, 6, 0.5)


def slabs(pen: Pen) -> None:
    """Rows of long blocks of flats, lawns and parking between."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    pen.lawn(area)
    pen.trees(area, 0.3)
    step = 32 + 14 * u[0]
    x, y, hashed = pen.cells(58 + 20 * u[1], step)
    lane = area & (y > 0.72)
    pen.put(lane, M.ASPHALT, 1.15)
    pen.slots(lane & (y < 0.88), 2.7, 5.5, 0.6)
    block = area & (x > 0.1) & (x < 0.9) & (y > 0.15) & (y < 0.5) & (bits16(hashed, 0) < 0.92)
    pen.roof(block, u[2], 14 + 20 * u[3])
    pen.built_over(block, 0.5 * u[4], side=90)


def houses(pen: Pen) -> None:
    """One house or a few, each with its yard, drive and trees."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    pen.put(area, pen.style.yard)
    pen.lawn(area & (pen.canvas.moisture > 0.3))
    pen.trees(area, 0.25 + 0.3 * u[0])
    house = pen.box(0, 0, length * 0.32, width * 0.27) | pen.box(
        length * 0.22, width * 0.2, length * 0.13, width * 0.3
    )
    pen.roof(house, u[1], 6)
    pen.canvas.tone[house & (pen.b > 0)] *= 0.85
    drive = pen.box(length * 0.3, -width * 0.62, 3, width * 0.36)
    pen.put(drive, M.CONCRETE)
    pen.slots(drive, 3, 6, 0.5)
    pen.put(pen.box(0, -width * 1.02, length * 1.1, 4), M.ASPHALT)


def swimming_pool(pen: Pen) -> None:
    """Blue basins in a paved deck beside a building."""
    u, length, width = pen.u, pen.length, pen.width
    deck = pen.box(0, 0, length, width)
    pen.lawn(deck)
    pen.put(pen.box(0, 0, length * 0.85, width * 0.8), M.CONCRETE, 1.05)
    pen.put(pen.box(-length * 0.2, 0, length * 0.5, width * (0.3 + 0.2 * u[0])), M.POOL)
    if u[1] < 0.6:
        pen.put(pen.oval(length * 0.55, -width * 0.3, width * 0.3, width * 0.3) < 1, M.POOL, 1.1)
    hall = pen.box(length * 0.6, width * 0.6, length * 0.25, width * 0.25)
    pen.roof(hall, u[2], 6)
    pen.trees(deck & ~pen.box(0, 0, length * 0.85, width * 0.8), 0.5)
