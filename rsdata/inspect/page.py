"""The preview as HTML: no script, no request to anywhere, images inside."""

from __future__ import annotations

import base64
from datetime import date
from html import escape

from rsdata.inspect.preview import Card, Preview
from rsdata.maps import hex_colour, svg_map

_CLASSES = 36
_BESIDE = 16
_PLAIN = "#2f6f8f"

_STYLE = """
:root { --ink:#1d2429; --soft:#5d6a73; --line:#dfe4e7; --paper:#fff; --ground:#f5f6f4; --accent:#2f6f8f; }
* { box-sizing:border-box; }
body { margin:0; background:var(--ground); color:var(--ink); font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif; }
main { max-width:1240px; margin:0 auto; padding:36px 28px 56px; }
h1 { font-size:30px; line-height:1.15; margin:0 0 4px; letter-spacing:-.01em; }
h2 { font-size:13px; text-transform:uppercase; letter-spacing:.08em; color:var(--soft); margin:0 0 14px; font-weight:600; }
.lead { color:var(--soft); margin:0 0 26px; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(130px,1fr)); gap:1px; background:var(--line);
  border:1px solid var(--line); border-radius:10px; overflow:hidden; margin-bottom:22px; }
.tile { background:var(--paper); padding:14px 18px; }
.tile b { display:block; font-size:22px; font-weight:600; line-height:1.25; white-space:nowrap; font-variant-numeric:tabular-nums; }
.tile span { color:var(--soft); font-size:13px; }
section { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:20px 22px; margin-bottom:22px; }
.two { display:grid; grid-template-columns:minmax(0,3fr) minmax(0,2fr); gap:22px; align-items:start; }
.two > div > section:last-child { margin-bottom:0; } .two { margin-bottom:22px; }
.sheet { display:flex; flex-wrap:wrap; gap:14px 18px; }
.card { border-left:3px solid var(--c); padding-left:10px; max-width:100%; }
.card header { font-size:13px; line-height:1.35; margin-bottom:6px; }
.card header b { font-weight:600; } .card header span { color:var(--soft); }
.strip { display:flex; flex-wrap:wrap; gap:4px; }
figure { margin:0; width:132px; } figure img, figure .gone { width:132px; height:132px; display:block; border-radius:3px; background:#e6e9ea; }
figure .gone { font-size:11px; padding:6px; overflow:hidden; color:var(--soft); }
.dense figure, .dense figure img, .dense figure .gone { width:252px; } .dense figure img, .dense figure .gone { height:252px; }
.rows { gap:10px; } .rows .card { width:100%; display:grid; grid-template-columns:150px minmax(0,1fr); gap:12px; }
.rows .card header { width:auto !important; } .rows .strip { flex-wrap:nowrap; } .rows figure { flex:1 1 0; min-width:0; max-width:196px; }
.rows figure img, .rows figure .gone { width:100%; height:auto; aspect-ratio:1; }
figcaption { font-size:11px; color:var(--soft); font-variant-numeric:tabular-nums; margin-top:2px; min-height:1.2em; }
svg { display:block; width:100%; height:auto; } svg.map { border-radius:6px; }
.bars { columns:2 300px; column-gap:28px; }
.bar { display:grid; grid-template-columns:minmax(0,11em) 1fr 4.5em; gap:10px; align-items:center; font-size:13px; line-height:1.75; break-inside:avoid; }
.bar span { overflow:hidden; text-overflow:ellipsis; white-space:nowrap; }
.bar i { display:block; height:9px; border-radius:2px; background:var(--c); min-width:2px; }
.bar em { font-style:normal; color:var(--soft); text-align:right; font-variant-numeric:tabular-nums; }
table { border-collapse:collapse; width:100%; font-size:13.5px; }
td, th { text-align:left; vertical-align:top; padding:5px 14px 5px 0; border-top:1px solid var(--line); overflow-wrap:anywhere; }
tr:first-child td, tr:first-child th { border-top:0; } th { color:var(--soft); font-weight:500; white-space:nowrap; }
td.n, th.n { text-align:right; font-variant-numeric:tabular-nums; padding-right:0; padding-left:14px; }
p.note { color:var(--soft); font-size:13px; margin:10px 0 0; }
@media (max-width:860px) { .two { grid-template-columns:1fr; } main { padding:20px 14px; } }
"""


def page(view: Preview) -> str:
    """The whole document."""
    info = view.facts.info
    title = escape(info.name)
    lead = escape(info.attribution or f"source: {info.source}")
    few = len(view.classes) <= _BESIDE
    right = (_classes(view) if few else "") + _bands(view)
    map_part = _map(view)
    months = _months(view)
    left = (map_part + months) if map_part else months
    upper = f'<div class="two"><div>{left}</div><div>{right}</div></div>' if left else right
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head>'
        f'<body><main><h1>{title}</h1><p class="lead">{lead}</p>{_tiles(view)}{upper}{"" if few else _classes(view)}'
        f"{_sheet(view)}{_facts(view)}</main></body></html>\n"
    )


def _tiles(view: Preview) -> str:
    info = view.facts.info
    tiles = [(f"{info.samples:,}", "samples"), (f"{info.views:,}", "views")]
    if info.classes:
        tiles.append((f"{len(info.classes):,}", "classes"))
    if view.facts.places:
        tiles.append((f"{view.facts.places:,}", "places on the map"))
    if view.facts.times:
        first, last = (time[:4] for time in view.facts.times)
        tiles.append((first if first == last else f"{first}–{last}", "years"))
    tiles.append((f"{len(info.shards):,}", f"shards, {view.facts.bytes / 1e6:,.0f} MB"))
    if info.failed:
        tiles.append((f"{info.failed:,}", "failed, listed beside"))
    cells = "".join(f'<div class="tile"><b>{value}</b><span>{what}</span></div>' for value, what in tiles)
    return f'<div class="tiles">{cells}</div>'


def _map(view: Preview) -> str:
    if not len(view.lon):
        return ""
    colours = [_colour(label) for label in view.dot_labels]
    radius = 3.6 if len(colours) < 1_000 else 2.2
    note = "A dot is a place" + (", coloured by class." if view.facts.info.classes else ".")
    return f'<section><h2>Where</h2>{svg_map(view.lon, view.lat, colours, radius=radius)}<p class="note">{note}</p></section>'


def _months(view: Preview) -> str:
    if not view.months:
        return ""
    first, last = min(view.months), max(view.months)
    span = (int(last[:4]) - int(first[:4])) * 12 + int(last[5:]) - int(first[5:]) + 1
    yearly = span > 72
    counts: dict[str, int] = {}
    if yearly:
        for year in range(int(first[:4]), int(last[:4]) + 1):
            counts[str(year)] = sum(n for month, n in view.months.items() if month[:4] == str(year))
    else:
        year, month = int(first[:4]), int(first[5:])
        for _ in range(span):
            name = f"{year}-{month:02d}"
            counts[name] = view.months.get(name, 0)
            year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return f"<section><h2>When: views a {'year' if yearly else 'month'}</h2>{_columns(counts)}</section>"


def _columns(counts: dict[str, int]) -> str:
    width, height, foot, head = 720, 150, 20, 14
    step = width / len(counts)
    top = max(counts.values())
    bars, labels = [], []
    for i, (name, count) in enumerate(counts.items()):
        tall = (height - foot - head) * count / top
        x = i * step + min(2, step * 0.12)
        wide = min(step - 2 * min(2, step * 0.12), 44)
        x += (step - 2 * min(2, step * 0.12) - wide) / 2
        bars.append(
            f'<rect x="{x:.1f}" y="{height - foot - tall:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="1.5">'
            f"<title>{name}: {count:,}</title></rect>"
        )
        every = -(-len(counts) // 12)
        if len(name) == 7:
            every = 1 if len(counts) <= 12 else 12
            shown = date(int(name[:4]), int(name[5:]), 1).strftime("%b %Y") if every == 1 else name[:4]
            due = every == 1 or name[5:] == "01" or (i == 0 and int(name[5:]) < 8)
        else:
            shown, due = name, i % every == 0
        if due:
            labels.append(f'<text x="{i * step + step / 2:.1f}" y="{height - 5}">{shown}</text>')
    base = height - foot
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img"><text x="0" y="10" fill="#5d6a73" font-size="11">'
        f'most: {top:,}</text><g fill="{_PLAIN}">{"".join(bars)}</g>'
        f'<path d="M0 {base}H{width}" stroke="#c9d0d4"/>'
        f'<g fill="#5d6a73" font-size="11" text-anchor="middle">{"".join(labels)}</g></svg>'
    )


def _classes(view: Preview) -> str:
    if not view.classes:
        return ""
    ranked = sorted(enumerate(view.classes), key=lambda item: (-item[1][1], item[0]))
    top = max(ranked[0][1][1], 1)
    bars = "".join(
        f'<div class="bar" style="--c:{_colour(label)}"><span title="{escape(name)}">{escape(name)}</span>'
        f'<i style="width:{100 * count / top:.1f}%"></i><em>{count:,}</em></div>'
        for label, (name, count) in ranked[:_CLASSES]
    )
    rest = (
        f'<p class="note">and {len(ranked) - _CLASSES} smaller classes</p>' if len(ranked) > _CLASSES else ""
    )
    return f'<section><h2>Views of each class</h2><div class="bars">{bars}</div>{rest}</section>'


def _sheet(view: Preview) -> str:
    cards = "".join(_card(card, view) for card in view.cards)
    several = any(card.views > 1 for card in view.cards)
    what = "places, their views in order of time" if several else "samples"
    sheet = "sheet" + (" dense" if view.dense else "") + (" rows" if view.seasons else "")
    note = "Objects and masks are drawn in the colours of the classes, thin where hard to tell; black is ignored."
    about = f'<p class="note">{note}</p>' if view.dense else ""
    return f'<section><h2>{len(view.cards)} {what}</h2><div class="{sheet}">{cards}</div>{about}</section>'


def _card(card: Card, view: Preview) -> str:
    thumbs = "".join(
        f'<figure><img alt="" src="data:image/jpeg;base64,{base64.b64encode(thumb.jpeg).decode()}">'
        f"<figcaption>{escape(thumb.caption)}</figcaption></figure>"
        if thumb.jpeg
        else f'<figure><div class="gone">{escape(thumb.caption)}</div></figure>'
        for thumb in card.thumbs
    )
    name = card.key if card.label is None else view.facts.info.classes[card.label]
    more = f" · {len(card.thumbs)} of {card.views} views" if card.views > len(card.thumbs) else ""
    about = " · ".join(part for part in (card.split, card.found, card.where) if part) + more
    width = min(len(card.thumbs), 8) * (256 if view.dense else 136)
    return (
        f'<div class="card" style="--c:{_colour(-1 if card.label is None else card.label)}" title="{escape(card.key)}">'
        f'<header style="width:{max(width - 4, 132)}px;max-width:100%"><b>{escape(name)}</b><br><span>{escape(about)}</span></header>'
        f'<div class="strip">{thumbs}</div></div>'
    )


def _bands(view: Preview) -> str:
    info = view.facts.info
    waves = {b.name: f" · {b.wavelength_nm:,.0f} nm" for b in info.bands if b.wavelength_nm is not None}
    rows = "".join(
        f'<tr><td>{escape(b.name)}{waves.get(b.name, "")}</td><td class="n">{b.mean:,.1f}</td><td class="n">{b.std:,.1f}</td>'
        f'<td class="n">{_number(b.quantiles["0.02"])}</td><td class="n">{_number(b.quantiles["0.5"])}</td>'
        f'<td class="n">{_number(b.quantiles["0.98"])}</td></tr>'
        for b in info.statistics
    )
    head = "".join(f'<th class="n">{what}</th>' for what in ("mean", "std", "2 %", "50 %", "98 %"))
    splits = "".join(f'<tr><td>{escape(s)}</td><td class="n">{n:,}</td></tr>' for s, n in info.splits.items())
    return (
        f"<section><h2>Bands ({escape(info.statistics_of)})</h2><table><tr><th>band</th>{head}</tr>{rows}</table></section>"
        f"<section><h2>Views of each split</h2><table>{splits}</table></section>"
    )


def _facts(view: Preview) -> str:
    rows = "".join(f"<tr><th>{escape(n)}</th><td>{escape(v)}</td></tr>" for n, v in view.facts.lines())
    return f"<section><h2>Facts</h2><table>{rows}</table></section>"


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _colour(label: int) -> str:
    return _PLAIN if label < 0 else hex_colour(label)
