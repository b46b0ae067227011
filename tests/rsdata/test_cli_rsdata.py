"""The program: exit codes, one JSON object, messages that name the next step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from image_trees import rsdata, write_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "in", {"a": 4, "b": 4})


def test_from_files_to_a_set(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    planned = rsdata("plan", "imagefolder", out, "--root", root, "--test-fraction", "0.25", "--json")
    assert planned.returncode == 0, planned.stderr
    facts = json.loads(planned.stdout)
    assert facts["splits"] == {"train": 6, "test": 2} and facts["classes"] == ["a", "b"]

    state = rsdata("status", out)
    assert state.returncode == 0 and f"next: rsdata build {out}" in state.stdout

    made = rsdata("build", out, "--workers", "1", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["samples"] == 8
    again = rsdata("run", "imagefolder", out, "--root", root, "--test-fraction", "0.25", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout) == json.loads(made.stdout) | {"seconds": None}

    other = rsdata("run", "imagefolder", out, "--root", root, "--seed", "3")
    assert other.returncode == 1
    assert other.stdout == "" and other.stderr.startswith("error: ") and "seed was 0 and is 3" in other.stderr
    assert "Traceback" not in other.stderr


def test_some_failed_is_exit_code_3(root: Path, tmp_path: Path) -> None:
    (root / "a" / "torn.jpg").write_bytes((root / "a" / "a_0.jpg").read_bytes()[:-9])
    first = rsdata("run", "imagefolder", tmp_path / "out", "--root", root, "--workers", "0")
    assert first.returncode == 3, first.stderr
    assert "a/torn.jpg: invalid: broken JPEG" in first.stdout
    assert rsdata("build", tmp_path / "out").returncode == 3, "finished long ago, and still some have failed"
    assert rsdata("retry", tmp_path / "out").returncode == 3
    state = rsdata("status", tmp_path / "out", "--all")
    assert state.returncode == 0 and "a/torn.jpg: invalid: broken JPEG" in state.stdout


def test_options_from_a_file_are_overridden_by_flags(root: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'root = "{root}"\nseed = 4\ntest_fraction = 0.5\n')
    done = rsdata(
        "plan", "imagefolder", tmp_path / "out", "--config", recipe, "--test-fraction", "0.25", "--json"
    )
    assert json.loads(done.stdout)["splits"] == {"train": 6, "test": 2}
    recipe.write_text("sede = 4\n")
    wrong = rsdata("plan", "imagefolder", tmp_path / "other", "--config", recipe)
    assert wrong.returncode == 1 and "sede: unknown key; known: " in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("build", "{tmp}/nothing"), 1, "has no plan.parquet; make one with: rsdata plan SOURCE"),
        (("status", "{tmp}/nothing"), 1, "has no plan.parquet"),
        (("plan", "imagefolder", "{tmp}/out"), 2, "--root: it is required"),
        (("plan", "landsat", "{tmp}/out"), 2, "No such command"),
        (("build",), 2, "Missing argument"),
        (
            ("plan", "imagefolder", "{tmp}/out", "--root", "{tmp}/in", "--test-fraction", "2"),
            1,
            "test_fraction",
        ),
    ],
)
def test_mistakes(arguments: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    done = rsdata(*(word.format(tmp=tmp_path) for word in arguments))
    assert done.returncode == code and said in done.stderr, done.stderr
    assert done.stdout == "" and "Traceback" not in done.stderr


def test_sources() -> None:
    rows = json.loads(rsdata("sources", "--json").stdout)["sources"]
    names = {row["source"] for row in rows}
    assert {"imagefolder", "fmow", "imagefolder --preset eurosat"} <= names
    assert all(
        row.keys() == {"source", "is", "licence", "credentials", "typical_size", "url"} for row in rows
    )


def test_help_is_light() -> None:
    code = (
        "import sys, rsdata.cli; heavy = {'numpy', 'torch', 'pyarrow', 'rasterio', 'pandas', 'cv2', 'sklearn',"
        " 'matplotlib', 'rich', 'PIL'} & sys.modules.keys(); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert rsdata("--help").returncode == 0
