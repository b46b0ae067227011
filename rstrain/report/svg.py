"""Charts as SVG text: small functions from numbers to markup. Colours come from the page's style sheet.

Every series differs by dash as well as by hue, so that nothing hangs on colour alone. Units are pixels of the view box.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 2", "6 2 1 2")
SERIES = len(DASHES)
GREY = 6
"""Position in the palette that belongs to untrained weights."""


def palette(run: int) -> int:
    """Position of the n-th run: every one but the grey."""
    at = run % (SERIES - 1)
    return at if at < GREY else at + 1


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    number: int
    """Position in the palette."""


@dataclass(frozen=True)
class Bar:
    """One score with its interval."""

    name: str
    value: float
    low: float | None
    high: float | None
    number: int


def series_class(number: int) -> str:
    """CSS class of a position in the palette."""
    return f"s{number % SERIES}"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within [low, high], about `count` of them."""
    span = high - low
    if not math.isfinite(span) or span <= _least(low, high):
        return [low]
    raw = span / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _least(low: float, high: float) -> float:
    """Spans up to this are rounding."""
    return max(1e-300, 1e-12 * max(abs(low), abs(high)))


def drawable(value: float) -> bool:
    """Whether an axis can reach it: finite, and not so large that the arithmetic of axes overflows."""
    return abs(value) < 1e100


def number(value: float) -> str:
    """A tick label: short, no noise of binary fractions."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 10_000 or size < 1e-3:
        mantissa, _, power = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(power)}"
    return f"{value:.4g}"


def svg_open(width: float, height: float, label: str, css: str = "") -> str:
    """The opening tag of a chart; `label` is what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}" class="chart {css}" '
        f'style="max-width:{width:g}px">'
    )


def text(x: float, y: float, value: str, anchor: str = "start", css: str = "") -> str:
    """A label."""
    style = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(value)}</text>'


def curves(title: str, lines: Sequence[Line], *, width: int = 460, height: int = 230) -> str:
    """Curves over steps, with axes; values that are not finite leave a gap."""
    left, right, top, bottom = 52.0, 12.0, 26.0, 34.0
    points = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True) if drawable(y)]
    out = [svg_open(width, height, title), text(left, 15, title, css="title")]
    if not points:
        return "".join([*out, text(width / 2, height / 2, "no finite value", "middle", "muted"), "</svg>"])
    x_low, x_high = min(p[0] for p in points), max(p[0] for p in points)
    y_low, y_high = _range([p[1] for p in points])
    x_high = x_high if x_high > x_low else x_low + 1

    def px(x: float) -> float:
        return left + (x - x_low) / (x_high - x_low) * (width - left - right)

    def py(y: float) -> float:
        return height - bottom - (y - y_low) / (y_high - y_low) * (height - top - bottom)

    for value in ticks(y_low, y_high, 4):
        out.append(f'<path class="grid" d="M{left:g} {py(value):.1f}H{width - right:g}"/>')
        out.append(text(left - 6, py(value) + 4, number(value), "end", "tick"))
    for value in ticks(x_low, x_high, 5):
        out.append(f'<path class="axis" d="M{px(value):.1f} {height - bottom:g}v4"/>')
        out.append(text(px(value), height - bottom + 17, number(value), "middle", "tick"))
    out.append(f'<path class="axis" d="M{left:g} {height - bottom:g}H{width - right:g}"/>')
    out.append(text(width - right, height - 3, "step", "end", "tick"))
    for line in lines:
        shown = [(px(x), py(y)) if drawable(y) else None for x, y in zip(line.x, line.y, strict=True)]
        dash = DASHES[line.number % SERIES]
        style = f' stroke-dasharray="{dash}"' if dash else ""
        css = series_class(line.number)
        out.append(
            f'<path class="line {css}" d="{_path(shown)}"{style}><title>{escape(line.name)}</title></path>'
        )
        if len(shown) <= 24:
            out += [
                f'<circle class="dot {css}" cx="{p[0]:.1f}" cy="{p[1]:.1f}" r="2.6"/>' for p in shown if p
            ]
    return "".join([*out, "</svg>"])


def _range(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low >= 0 and low < 0.5 * high:
        low = 0.0
    if high - low <= _least(low, high):
        room = 0.5 * max(abs(low), abs(high)) or 0.5
        low, high = low - room, high + room
    return low, high + 0.04 * (high - low)


def _path(points: Iterable[tuple[float, float] | None]) -> str:
    out, pen = [], False
    for point in points:
        if point is not None:
            out.append(f"{'L' if pen else 'M'}{point[0]:.1f} {point[1]:.1f}")
        pen = point is not None
    return "".join(out)


def legend(names: Sequence[tuple[str, int]]) -> str:
    """Key of curves: names and their positions in the palette."""
    out = []
    for name, i in names:
        dash = DASHES[i % SERIES]
        style = f' stroke-dasharray="{dash}"' if dash else ""
        out.append(
            f'<span class="key"><svg viewBox="0 0 34 10" width="34" height="10" aria-hidden="true"><path class="line '
            f'{series_class(i)}" d="M1 5H33"{style}/></svg>{escape(name)}</span>'
        )
    return f'<p class="legend">{"".join(out)}</p>'


def bars(
    title: str, values: Sequence[Bar], *, references: Sequence[tuple[str, float]] = (), width: int = 460
) -> str:
    """Horizontal bars in percent with their 95 % intervals; the axis begins at 0. `references` are dashed lines."""
    name_width, right, top, row = 158.0, 56.0, 26.0, 26.0
    height = top + row * len(values) + 24
    tops = [*(b.value for b in values), *(b.high for b in values if b.high is not None)]
    high = max([1e-9, *tops, *(value for _, value in references)])
    top_value = min(100.0, high * 1.04) if high <= 100 else high

    def px(value: float) -> float:
        return name_width + value / top_value * (width - name_width - right)

    out = [svg_open(width, height, title), text(4, 15, title, css="title")]
    for value in ticks(0, top_value, 4):
        out.append(f'<path class="grid" d="M{px(value):.1f} {top:g}V{height - 20:.1f}"/>')
        out.append(text(px(value), height - 6, number(value), "middle", "tick"))
    for i, bar in enumerate(values):
        y = top + i * row
        tip = f"{bar.name}: {bar.value:.2f} %"
        if bar.low is not None and bar.high is not None:
            tip += f", 95 % interval {bar.low:.2f} to {bar.high:.2f}"
        out.append(text(name_width - 8, y + 17, clip(bar.name, 24), "end"))
        out.append(
            f'<rect class="fill {series_class(bar.number)}" x="{px(0):.1f}" y="{y + 5:.1f}" '
            f'width="{max(px(bar.value) - px(0), 0.5):.1f}" height="16" rx="2"><title>{escape(tip)}</title></rect>'
        )
        end = bar.value
        if bar.low is not None and bar.high is not None:
            end = max(end, bar.high)
            out.append(
                f'<path class="whisker" d="M{px(bar.low):.1f} {y + 13:.1f}H{px(bar.high):.1f}'
                f'M{px(bar.low):.1f} {y + 9:.1f}v8M{px(bar.high):.1f} {y + 9:.1f}v8"/>'
            )
        out.append(text(px(end) + 6, y + 17, f"{bar.value:.1f}", css="value"))
    for name, value in references:
        tip = escape(f"published, {name}: {value:.2f} %")
        line = f"M{px(value):.1f} {top:g}V{height - 20:.1f}"
        out.append(f'<path class="published" d="{line}"><title>{tip}</title></path>')
    return "".join([*out, "</svg>"])


def counts(title: str, names: Sequence[str], values: Sequence[int], *, width: int = 460) -> str:
    """Horizontal bars of counts, one a class."""
    name_width, right, top, row = 158.0, 60.0, 24.0, 15.0
    height = top + row * len(values) + 6
    high = max([1, *values])
    out = [svg_open(width, height, title), text(4, 14, title, css="title")]
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        y, length = top + i * row, value / high * (width - name_width - right)
        out.append(text(name_width - 8, y + 11, clip(name, 26), "end", "small"))
        out.append(
            f'<rect class="fill plain" x="{name_width:g}" y="{y + 2:.1f}" width="{max(length, 0.5):.1f}" height="11"/>'
        )
        out.append(text(name_width + length + 5, y + 11, f"{value:,}", css="small"))
    return "".join([*out, "</svg>"])


def clip(value: str, most: int) -> str:
    """At most so many characters, with an ellipsis."""
    return value if len(value) <= most else value[: most - 1] + "…"
