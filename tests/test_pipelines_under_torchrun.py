"""A pipeline that is started as one of several ranks says so instead of waiting for the others for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_several_ranks_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines", "run", "quickstart", "--out", str(tmp_path / "runs")],
        env=os.environ | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: pipelines run: is one of 2 ranks") and done.stderr.count("\n") == 1
    assert "-m rstrain pretrain" in done.stderr
    assert not (tmp_path / "runs").exists()
