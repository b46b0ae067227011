"""The style sheet of the report: one palette for light and one for dark, safe for the colour-blind (Okabe and Ito)."""

from __future__ import annotations

CSS = """
:root{color-scheme:light dark;--bg:#fff;--card:#f7f8fa;--ink:#1c2430;--soft:#5b6675;--rule:#d9dee6;--sea:#eef3f8;
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#cc79a7;--s4:#b58900;--s5:#3b9fd6;--s6:#5b6675;--s7:#7b3fa0;
--q1:#cfe1f2;--q2:#93c4df;--q3:#4b97c9;--q4:#1f69ad;--q5:#08306b;--w1:#fbe3d4;--w2:#f8b98f;--w3:#ee854a;--w4:#cc5a1b;--w5:#8c2d04;
--on:#fff}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2028;--ink:#e6eaf0;--soft:#9aa6b5;--rule:#323b47;--sea:#161d26;
--s0:#56b4e9;--s1:#ff8c42;--s2:#2fc99a;--s3:#e39cc4;--s4:#e6c229;--s5:#8fd0f5;--s6:#9aa6b5;--s7:#c08be0;
--q1:#17324d;--q2:#1f5583;--q3:#2f7fbd;--q4:#6bb1e2;--q5:#c4e2f8;--w1:#46291a;--w2:#7a3c18;--w3:#b85a22;--w4:#ef8f52;--w5:#ffd0b0;
--on:#0b1016}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 24px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 4px}
h2{font-size:19px;margin:38px 0 10px;padding-top:14px;border-top:1px solid var(--rule)}
h3{font-size:15px;margin:18px 0 6px}h3 .muted{font-weight:400}
p{margin:6px 0 10px;max-width:75ch}
.muted,.note{color:var(--soft)}.note{font-size:13.5px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;margin:8px 0 14px}
th,td{padding:5px 12px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{color:var(--soft);font-weight:600}
td.n,th.n{text-align:right;padding-right:16px;font-variant-numeric:tabular-nums;white-space:nowrap}
td.best{font-weight:700}
td small{display:block;color:var(--soft);font-weight:400}
figure{margin:10px 0}img{max-width:100%;height:auto}figcaption{color:var(--soft);font-size:13.5px}
.published{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 3;fill:none}
code{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{background:var(--card);padding:12px;border-radius:6px;overflow-x:auto;font:12.5px/1.45 ui-monospace,Menlo,Consolas,monospace}
details{margin:6px 0}summary{cursor:pointer}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr));gap:14px 20px;align-items:start}
.chart{width:100%;height:auto;display:block}
.chart text{fill:var(--ink);font-size:12px;font-family:inherit}
.chart text.title{font-size:13px;font-weight:600}.chart text.tick{fill:var(--soft);font-size:11px}
.chart text.small{font-size:10.5px}.chart text.muted{fill:var(--soft)}.chart text.value{font-variant-numeric:tabular-nums}
.chart text.cell{font-size:10px}.chart text.cell.strong{fill:var(--on)}
path.grid{stroke:var(--rule);stroke-width:1;fill:none}path.axis{stroke:var(--soft);stroke-width:1;fill:none}
path.equator{stroke:var(--rule);fill:none}path.range{stroke:var(--rule);stroke-width:3;fill:none}
path.line{fill:none;stroke-width:1.8;stroke-linejoin:round}path.whisker{stroke:var(--ink);stroke-width:1.3;fill:none}
path.outlined{stroke:var(--bg);stroke-width:1}
circle.place{fill:var(--q4);fill-opacity:.55}rect.frame{fill:var(--card);stroke:var(--rule)}rect.sea{fill:var(--sea)}
.plain{fill:var(--s6)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;max-width:none;font-size:13.5px}
.key{display:inline-flex;align-items:center;gap:7px}
@media print{body{font-size:12px}h2{break-after:avoid}.chart{break-inside:avoid}}
"""

SHADES = "".join(
    f"path.line.s{i}{{stroke:var(--s{i})}}.fill.s{i},.dot.s{i}{{fill:var(--s{i})}}" for i in range(8)
) + "".join(
    f"rect.right.q{i},path.place.q{i}{{fill:var(--q{i})}}rect.wrong.q{i}{{fill:var(--w{i})}}"
    for i in range(1, 6)
)
