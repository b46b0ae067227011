"""Sites of the open land: fields, golf, water."""

from __future__ import annotations

import numpy as np

from rsdata.sandbox.sites.pen import Pen
from rsdata.sandbox.world.canvas import bits16
from rsdata.sandbox.world.spectra import Material as M  # noqa: N817


def crop_field(pen: Pen) -> None:
    """One large field or a few strips, each with its crop; rows of the plough show from near."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    strips = 1 + int(u[0] * 3.5)
    _, y, hashed = pen.cells(4 * length, 2 * width / strips, -2 * length, -width)
    pen.grounds(area, M.CROP, 0.07)
    canvas = pen.canvas
    south = np.where(canvas.swing < 0, 182.5, 0.0)
    canvas.peak[area] = (105 + 130 * bits16(hashed, 0) + south)[area]
    canvas.spread[area] = (28 + 35 * bits16(hashed, 1))[area]
    canvas.tone[area] *= (0.85 + 0.3 * bits16(hashed, 2))[area]
    if canvas.res_m < 4:
        along = bits16(hashed, 3) < 0.7
        rows = np.where(along, pen.b, pen.a) * np.float32(2 * np.pi / (8 + 5 * u[1]))
        canvas.tone[area] *= (1 + 0.1 * np.sin(rows))[area]
    tracks = area & (y * (2 * width / strips) < 2.5)
    pen.put(tracks, M.GRAVEL if u[2] < 0.5 else M.GRASS)
    rim = pen.box(0, 0, length + 4, width + 4) & ~area
    if u[3] < 0.5 and not pen.style.pivots > 0.5:
        pen.trees(rim, 0.7)
    else:
        pen.put(rim, M.GRAVEL)


def golf_course(pen: Pen) -> None:
    """Winding fairways between trees, with greens, bunkers and ponds."""
    u, length, width = pen.u, pen.length, pen.width
    area = pen.box(0, 0, length, width)
    pen.lawn(area)
    pen.trees(area, 0.45 + 0.25 * u[0])
    lanes = 3 + int(u[1] * 3)
    step = 2 * width / lanes
    bend = step * 0.35 * np.sin(pen.a / (length * 0.25) + 6 * u[2]) + step * 0.15 * pen.wavy(2.0**7)
    y = (pen.b + width + bend) / step
    row = np.floor(y)
    x = (pen.a + length * (0.3 * (row % 2))) / (length * 0.75)
    piece = x - np.floor(x)
    fairway = area & (np.abs(y - row - 0.5) < 0.24) & (piece > 0.08) & (piece < 0.92)
    pen.put(fairway, M.TURF, 0.95)
    end_a, end_b = (piece - 0.9) * length * 0.75, (y - row - 0.5) * step
    pen.put(area & (np.hypot(end_a, end_b) < step * 0.16), M.TURF, 1.2)
    for number, (along, across) in enumerate(((-0.06, 0.22), (-0.1, -0.2), (-0.35, 0.28))):
        spot = np.hypot((piece - 0.9 - along) * length * 0.75, (y - row - 0.5 - across) * step)
        pen.put(area & (spot < step * (0.09 + 0.05 * u[3 + number])), M.SAND, 1.05)
    pond = pen.oval(
        length * (u[7] - 0.5), width * (u[8] - 0.5), length * 0.14, width * 0.16
    ) + 0.3 * pen.wavy(2.0**6)
    pen.put(area & (pond < 1), M.WATER)
    pen.put(pen.box(length * 0.85, width * 0.8, length * 0.08, width * 0.07), M.ROOF_GREY, 1.0, 6)


def lake_or_pond(pen: Pen) -> None:
    """Still water with a wandering shore; the level falls in the dry season only at the rim."""
    u, length, width = pen.u, pen.length, pen.width
    shore = pen.oval(0, 0, length * 0.85, width * 0.85) + (0.2 + 0.25 * u[0]) * pen.wavy(2.0**7)
    rim = (shore < 1.12) & (shore >= 1)
    pen.grounds(rim, (M.SAND, M.WETLAND, M.SOIL, M.GRASS)[int(u[1] * 4)])
    pen.trees((shore < 1.3) & (shore >= 1.05), 0.7 * u[2])
    pen.put(shore < 1, M.TURBID if u[3] < 0.35 else M.WATER, 0.85 + 0.4 * u[4])
    if u[5] < 0.3:
        pen.lawn(pen.oval(length * 0.2, width * 0.1, length * 0.15, width * 0.2) < 1)
