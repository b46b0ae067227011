from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kills_on_the_whole_path_change_nothing(tmp_path: Path) -> None:
    """A kill of each stage; `tests/chaos/whole_path.py` alone does twelve."""
    chaos = Path(__file__).parent / "chaos" / "whole_path.py"
    done = subprocess.run(
        [sys.executable, chaos, "--quick", "--folder", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("ok: 1 kills of build, 1 kills of train, 1 kills of")
