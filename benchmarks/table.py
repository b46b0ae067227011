"""docs/benchmarks.md from what the benchmarks printed.

    python benchmarks/table.py FOLDER [--out docs/benchmarks.md]

FOLDER holds one file a benchmark, `loader.json`, `step.json` …: the object that `python benchmarks/NAME.py` printed. The
page names the machine on which this is run, so run it where they ran.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "simplejpeg", "webdataset")


def machine() -> str:
    """Processor, cores and versions."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cores = len(os.sched_getaffinity(0))
    return f"{model or platform.processor()}, {cores} cores; Python {platform.python_version()}, {packages}"


def rows(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every number with its path; lists of numbers in one cell."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from rows(inner, (*path, str(key)))
    else:
        yield " / ".join(path), _cell(value)


def _cell(value: Any) -> str:
    return ", ".join(map(_text, value)) if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:,g}" if isinstance(value, float) else str(value)


def sides(name: str, result: dict[str, Any]) -> list[str]:
    """A benchmark as a section: dictionaries of the same names become the columns of one table."""
    groups: list[tuple[str, dict[str, dict[str, Any]]]] = []
    rest: dict[str, Any] = {}

    def visit(value: dict[str, Any], path: tuple[str, ...]) -> None:
        columns = {key: inner for key, inner in value.items() if _is_column(inner)}
        if columns:
            groups.append((" ".join(path), columns))
        for key, inner in value.items():
            if isinstance(inner, list) and inner and all(map(_is_column, inner)):
                name = next(iter(inner[0]))
                groups.append((" ".join((*path, name)), {_text(row.pop(name)): row for row in inner}))
            elif isinstance(inner, dict) and key not in columns:
                visit(inner, (*path, str(key)))
            elif not isinstance(inner, dict):
                rest[" / ".join((*path, str(key)))] = inner

    visit(result, ())
    source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
    about = (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]
    out = [f"## {name}", "", about, ""]
    if rest:
        out += ["| | |", "|---|---|", *(f"| {key} | {text} |" for key, text in rows(rest)), ""]
    for title, columns in groups:
        names = list(dict.fromkeys(key for column in columns.values() for key in column))
        out += [f"| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for key in names:
            cells = [_cell(column.get(key, "")) for column in columns.values()]
            out.append(f"| {key} | " + " | ".join(cells) + " |")
        out.append("")
    return out


def _is_column(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and not any(isinstance(v, dict) for v in value.values())


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path)
    options.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs/benchmarks.md"
    )
    given = options.parse_args()
    found = sorted(given.folder.glob("*.json"))
    if not found:
        raise SystemExit(
            f"{given.folder}: has no .json; run for example: python benchmarks/step.py > {given.folder}/step.json"
        )
    text = [
        "# Benchmarks",
        "",
        "Made by `python benchmarks/table.py FOLDER` from what `python benchmarks/NAME.py` printed; do not edit. Competitors are",
        "installed as [benchmarks/README.md](../benchmarks/README.md) says, run in turns with ours and compared within each",
        "round; values are medians. Ratios carry over to other machines, rates do not.",
        "",
        f"Machine: {machine()}.",
        "",
    ]
    for path in found:
        text += sides(path.stem, json.loads(path.read_text(encoding="utf-8")))
    given.out.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
