"""The README's tour, typed line by line as a newcomer would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_tour_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in block.splitlines():
        done = subprocess.run(
            line.split(),
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "data/tour.html").stat().st_size > 10_000
    assert (tmp_path / "runs/tour/report.html").stat().st_size > 10_000
    assert (tmp_path / "runs/tour/moco-geo-tp/evals/linear.json").exists()


@pytest.mark.slow
def test_the_seasons_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```\n(rsdata sandbox .*?)```", text, re.DOTALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path}
    first, *lines, last = block.splitlines()
    assert (first, last) == ("rsdata sandbox --port 8765 &", "kill %1")
    with subprocess.Popen(
        ["rsdata", "sandbox"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True
    ) as planet:
        try:
            assert planet.stdout is not None
            url = json.loads(planet.stdout.readline())["url"]  # another program may have 8765
            for line in lines:
                words = line.replace("http://127.0.0.1:8765", url).split()
                done = subprocess.run(
                    words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200
                )
                assert done.returncode == (3 if words[1] == "build" else 0), (
                    f"{line}\n{done.stdout}\n{done.stderr}"
                )
        finally:
            planet.terminate()
    assert (tmp_path / "data/seasons.html").stat().st_size > 100_000
    assert len(list((tmp_path / "data/seasons-tif").rglob("*.tif"))) >= 25 * 5 * 3


def test_the_readme_names_only_options_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    commands = [line for line in lines if line.startswith(("rsdata ", "rstrain ", "torchrun "))]
    assert len(commands) >= 12
    named: dict[tuple[str, ...], str] = {}
    for line in commands:
        words = line.split()
        program = words.index("-m") + 1 if words[0] == "torchrun" else 0
        depth = 3 if words[program + 1] in ("plan", "run", "pretrain", "eval") else 2
        command = tuple(words[program : program + depth])
        named[command] = " ".join([named.get(command, ""), *words[program:]])
    for command, uses in named.items():
        done = subprocess.run(
            [sys.executable, "-m", *command, "--help"], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, uses
        for option in re.findall(r"--[a-z0-9-]+", uses):
            assert option in done.stdout, f"{option} of: {uses}"
