"""World maps without a tile server: land of Natural Earth, points on it, as PNG or SVG (plate carrée)."""

from __future__ import annotations

import colorsys
import io

import numpy as np
from numpy.typing import NDArray

from rsdata.land import coastlines

SEA, LAND, SHORE = "#eef3f7", "#dcdfd8", "#a9b0a8"
_SHOWN = 60_000

Floats = NDArray[np.float64]


def colour(number: int) -> tuple[float, float, float]:
    """A colour for a class or cluster, RGB in 0 … 1; neighbours in number are far apart in hue."""
    hue = (number * 0.61803398875 + 0.58) % 1.0
    return colorsys.hsv_to_rgb(hue, (0.62, 0.78, 0.5)[number % 3], (0.78, 0.62, 0.88)[number // 3 % 3])


def hex_colour(number: int) -> str:
    """The same as `#rrggbb`."""
    return "#" + "".join(f"{round(255 * part):02x}" for part in colour(number))


def cluster_png(lon: Floats, lat: Floats, labels: NDArray[np.int64], east: Floats, north: Floats) -> bytes:
    """Points coloured by cluster, centroids as rings, 1800 x 900 px; of many points every n-th is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    figure = Figure(figsize=(18, 9), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(-180, 180)
    axes.set_ylim(-90, 90)
    axes.axis("off")
    figure.patch.set_facecolor(SEA)
    land = Path.make_compound_path(*(Path(ring, closed=True) for ring in coastlines()))
    axes.add_patch(PathPatch(land, facecolor=LAND, edgecolor=SHORE, linewidth=0.5))
    for degrees in range(-150, 180, 30):
        axes.axvline(degrees, color="#ffffff", linewidth=0.6, alpha=0.7)
    for degrees in range(-60, 90, 30):
        axes.axhline(degrees, color="#ffffff", linewidth=0.6, alpha=0.7)
    step = max(1, -(-len(lon) // _SHOWN))
    palette = np.array([colour(c) for c in range(len(east))])
    size = float(np.clip(60_000 / max(len(lon[::step]), 1), 3, 26))
    axes.scatter(
        lon[::step], lat[::step], s=size, c=palette[labels[::step]], linewidths=0, alpha=0.85, zorder=3
    )
    axes.scatter(east, north, s=34, facecolors="white", edgecolors="#20262b", linewidths=1.1, zorder=4)
    note = f"{len(lon):,} points, {len(east)} clusters"
    axes.text(-177, -86, note, fontsize=13, color="#38424a", family="DejaVu Sans", zorder=5)
    out = io.BytesIO()
    FigureCanvasAgg(figure).print_png(out, metadata={"Software": None})
    return out.getvalue()


def svg_map(lon: Floats, lat: Floats, colours: list[str], *, width: int = 960, radius: float = 2.2) -> str:
    """One SVG element: land, a graticule, a dot a point (colours as long as the points)."""
    height = width // 2

    def x(degrees: float) -> float:
        return (degrees + 180) * width / 360

    def y(degrees: float) -> float:
        return (90 - degrees) * height / 180

    land = "".join(
        "M" + "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in ring.tolist()) + "Z" for ring in coastlines()
    )
    grid = "".join(f"M{x(d):.1f} 0V{height}" for d in range(-150, 180, 30))
    grid += "".join(f"M0 {y(d):.1f}H{width}" for d in range(-60, 90, 30))
    dots = "".join(
        f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{radius}" fill="{c}"/>'
        for a, b, c in zip(lon.tolist(), lat.tolist(), colours, strict=True)
    )
    return (
        f'<svg class="map" viewBox="0 0 {width} {height}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f'<rect width="{width}" height="{height}" fill="{SEA}"/>'
        f'<path d="{land}" fill="{LAND}" stroke="{SHORE}" stroke-width="0.5" fill-rule="evenodd"/>'
        f'<path d="{grid}" stroke="#fff" stroke-width="0.5" opacity="0.7" fill="none"/>'
        f'<g fill-opacity="0.85" stroke="#fff" stroke-width="0.4">{dots}</g></svg>'
    )
