"""Imports point down: shards <- rsdata, shards <- rstrain, pipelines on top."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "shards": {"shards"},
    "rsdata": {"shards", "rsdata"},
    "rstrain": {"shards", "rstrain"},
    "pipelines": {"shards", "rsdata", "rstrain", "pipelines"},
}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            roots = {name.split(".")[0] for name in names}
            wrong = roots & (MAY_IMPORT.keys() - MAY_IMPORT[package])
            if package in ("shards", "rsdata"):
                wrong |= roots & {"torch", "torchvision", "timm", "webdataset"}
            assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"
