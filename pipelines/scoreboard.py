"""The scoreboard: one row a backbone, one column a score, read from the scores files of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

COLUMNS = {
    "knn": ("knn", "top1_percent"),
    "linear": ("linear", "top1_percent"),
    "linear, vote of a place": ("linear", "temporal_top1_percent"),
}


def scoreboard(folders: list[Path]) -> dict[str, dict[str, float]]:
    """Scores in percent of each folder that has `evals/`; what was not measured is left out."""
    board: dict[str, dict[str, float]] = {}
    for folder in folders:
        row = {}
        for title, (task, key) in COLUMNS.items():
            path = folder / "evals" / f"{task}.json"
            if path.exists():
                scores = json.loads(path.read_text(encoding="utf-8"))["outcome"]["scores"]
                if key in scores:
                    row[title] = scores[key]
        if row:
            board[folder.name] = row
    return board


def as_text(board: dict[str, dict[str, float]]) -> str:
    """The board for people, top-1 in percent."""
    columns = [title for title in COLUMNS if any(title in row for row in board.values())]
    lines = [f"{'top-1, percent':<16}" + "".join(f"{title:>26}" for title in columns)]
    for name, row in board.items():
        lines.append(
            f"{name:<16}" + "".join(f"{row[c]:>26.1f}" if c in row else f"{'-':>26}" for c in columns)
        )
    return "\n".join(lines)
