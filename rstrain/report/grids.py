"""Charts made of cells: confusion matrices, class comparisons, maps of places."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from html import escape

from rstrain.report.svg import DASHES, clip, number, series_class, svg_open, text, ticks

LEVELS = 5
"""Shades of a map or a matrix, `q1` (least) to `q5` in the style sheet."""


def confusion(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Share of each true class (row) given to each class (column); empty cells are left blank.

    Names are written where they can be read (up to 70 classes), else a cell says its names when pointed at.
    """
    named = len(names) <= 70
    cell = max(3.0, min(26.0, 640.0 / max(1, len(names))))
    left, top = (150.0, 172.0) if named else (24.0, 36.0)
    side = cell * len(names)
    width, height = max(left + side + 8, 320.0), top + side + 26
    out = [svg_open(width, height, title, "matrix"), text(4, 15, title, css="title")]
    size = max(5.0, min(11.0, cell * 0.85))
    out.append(f'<rect class="frame" x="{left:g}" y="{top:g}" width="{side:.1f}" height="{side:.1f}"/>')
    for i, row in enumerate(counts):
        total = sum(row)
        y = top + i * cell
        if named:
            label = escape(clip(names[i], 26))
            out.append(
                f'<text x="{left - 5:g}" y="{y + cell / 2 + size * 0.35:.1f}" text-anchor="end" '
                f'style="font-size:{size:.1f}px">{label}</text>'
                f'<text transform="translate({left + (i + 0.5) * cell + size * 0.35:.1f} {top - 5:g}) rotate(-90)" '
                f'style="font-size:{size:.1f}px">{label}</text>'
            )
        for j, value in enumerate(row):
            if value == 0 or total == 0:
                continue
            share = value / total
            css = "right" if i == j else "wrong"
            tip = f"{names[i]} taken for {names[j]}: {value:,} of {total:,} ({100 * share:.0f} %)"
            out.append(
                f'<rect class="{css} q{_level(share)}" x="{left + j * cell:.1f}" y="{y:.1f}" width="{cell:.1f}" '
                f'height="{cell:.1f}"><title>{escape(tip)}</title></rect>'
            )
            if cell >= 18:
                dark = " strong" if _level(share) >= 3 else ""
                out.append(
                    text(
                        left + (j + 0.5) * cell,
                        y + cell / 2 + 3.2,
                        f"{100 * share:.0f}",
                        "middle",
                        f"cell{dark}",
                    )
                )
    out.append(text(left, top + side + 16, "rows: truth; columns: prediction; percent of a row", css="tick"))
    return "".join([*out, "</svg>"])


def _level(share: float) -> int:
    return min(LEVELS, 1 + int(share * LEVELS))


def class_dots(
    title: str, names: Sequence[str], series: Sequence[tuple[str, int, dict[str, float]]], *, width: int = 460
) -> str:
    """One row a class, one mark a series on a 0 … 100 % axis; a rule joins the least and the largest."""
    left, right, top, row = 158.0, 16.0, 30.0, 16.0
    height = top + row * len(names) + 20

    def px(value: float) -> float:
        return left + value / 100.0 * (width - left - right)

    out = [svg_open(width, height, title), text(4, 15, title, css="title")]
    for value in ticks(0, 100, 4):
        out.append(f'<path class="grid" d="M{px(value):.1f} {top - 4:g}V{height - 18:.1f}"/>')
        out.append(text(px(value), height - 5, number(value), "middle", "tick"))
    for i, name in enumerate(names):
        y = top + i * row + row / 2
        found = [(values[name], label, at) for label, at, values in series if name in values]
        out.append(text(left - 8, y + 4, clip(name, 26), "end", "small"))
        if not found:
            continue
        out.append(f'<path class="range" d="M{px(min(found)[0]):.1f} {y:.1f}H{px(max(found)[0]):.1f}"/>')
        for value, label, at in found:
            tip = escape(f"{name}: {label} {value:.1f} %")
            out.append(f"{mark(px(value), y, at)}<title>{tip}</title></path>")
    return "".join([*out, "</svg>"])


def mark(x: float, y: float, at: int) -> str:
    """An unclosed path element: circle, square, diamond or triangle, by position in the palette."""
    r = 4.2
    shapes = (
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0z",
        f"M{x - 3.6:.1f} {y - 3.6:.1f}h7.2v7.2h-7.2z",
        f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z",
        f"M{x:.1f} {y - 4.6:.1f}l4.8 8.4h-9.6z",
    )
    return f'<path class="fill {series_class(at)} outlined" d="{shapes[at % len(shapes)]}">'


def mark_legend(names: Sequence[tuple[str, int]]) -> str:
    """Key of marks."""
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">{mark(7, 7, at)}</path>'
        f"</svg>{escape(name)}</span>"
        for name, at in names
    )
    return f'<p class="legend">{keys}</p>'


def world_map(
    title: str,
    lon: Sequence[float],
    lat: Sequence[float],
    *,
    width: int = 720,
    degrees: float = 1.5,
    dots: int = 2000,
) -> str:
    """Places on a plain graticule (equirectangular); up to `dots` of them are dots.

    More are counted in cells of `degrees`; a shade says how many fall into one, on a log scale.
    """
    height = width / 2
    scale = width / 360.0
    out = [
        svg_open(width, height + 24, title, "map"),
        text(4, 15, title, css="title"),
        '<g transform="translate(0 22)">',
    ]
    out.append(f'<rect class="sea" width="{width}" height="{height:g}"/>')
    lines = "".join(f"M{(v + 180) * scale:.1f} 0V{height:g}" for v in range(-150, 180, 30))
    lines += "".join(f"M0 {(90 - v) * scale:.1f}H{width}" for v in (-60, -30, 0, 30, 60))
    out.append(f'<path class="grid" d="{lines}"/>')
    out.append(f'<path class="equator" stroke-dasharray="{DASHES[1]}" d="M0 {height / 2:g}H{width}"/>')
    if len(lon) <= dots:
        out += [
            f'<circle class="place" cx="{(x + 180) * scale:.1f}" cy="{(90 - y) * scale:.1f}" r="2.4"/>'
            for x, y in zip(lon, lat, strict=True)
        ]
    else:
        out += _cells(lon, lat, degrees, scale)
    for value in (-60, -30, 0, 30, 60):
        out.append(
            text(
                3,
                (90 - value) * scale - 3,
                f"{abs(value)}°{' N' if value > 0 else ' S' if value else ''}",
                css="tick",
            )
        )
    return "".join([*out, "</g></svg>"])


def _cells(lon: Sequence[float], lat: Sequence[float], degrees: float, scale: float) -> list[str]:
    count: dict[tuple[int, int], int] = defaultdict(int)
    for x, y in zip(lon, lat, strict=True):
        count[int((min(x, 179.999) + 180) // degrees), int((90 - max(y, -89.999)) // degrees)] += 1
    most = max(2, *count.values())
    side = degrees * scale
    shades: dict[int, list[str]] = defaultdict(list)
    for (column, row), here in sorted(count.items()):
        level = 2 + round((LEVELS - 2) * math.log(here) / math.log(most))
        shades[level].append(f"M{column * side:.1f} {row * side:.1f}h{side:.1f}v{side:.1f}h{-side:.1f}z")
    return [f'<path class="place q{level}" d="{"".join(parts)}"/>' for level, parts in sorted(shades.items())]
