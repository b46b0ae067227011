from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shards import console
from shards.config import Config

PROGRAM = '''
import time
from typing import Annotated, Literal
import typer
from pydantic import Field
from shards import console
from shards.config import Config
from shards.errors import UserError

class Shape(Config):
    side: int = Field(3, gt=0, description="of a square, pixels")

class Job(Config):
    kind: Literal["job"] = "job"
    name: str = Field("x", description="what it is called")
    rate: float | None = Field(None, description="how fast")
    tags: tuple[str, ...] = ()
    fast: bool = False
    mode: Literal["a", "b"] = "a"
    shape: Shape = Shape()

app = console.app("A program.")

@console.configured(app, "run", Job)
def run(config: Job, where: Annotated[str, typer.Argument()], as_json: console.Json = False) -> None:
    """Runs."""
    console.emit(config.to_dict() | {"where": where}, "done", as_json=as_json)

@app.command()
def fail(code: int) -> None:
    if code == 1:
        raise UserError("the disk is full\\n  free some space")
    if code == 130:
        console.say("waiting")
        time.sleep(60)
    raise typer.Exit(code)

console.run(app, "program")
'''


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("console") / "program.py"
    path.write_text(PROGRAM)
    return path


def call(program: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([sys.executable, str(program), *args], capture_output=True, text=True, env=env)


def test_options_are_made_from_the_config(program: Path) -> None:
    done = call(
        program, "run", "here", "--side", "5", "--tags", "p", "--tags", "q", "--fast", "--mode", "b", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "kind": "job",
        "name": "x",
        "tags": ["p", "q"],
        "fast": True,
        "mode": "b",
        "shape": {"side": 5},
        "where": "here",
    }


def test_a_file_is_the_base_and_flags_override_it(program: Path, tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text('name = "file"\nrate = 2.5\nfast = true\n[shape]\nside = 7\n')
    done = call(program, "run", "w", "--config", str(file), "--rate", "1", "--no-fast", "--json")
    value = json.loads(done.stdout)
    assert (value["name"], value["rate"], value["fast"], value["shape"]) == ("file", 1.0, False, {"side": 7})
    file.write_text("colour = 1\n")
    done = call(program, "run", "w", "--config", str(file))
    assert done.returncode == 1
    assert "job.toml: colour: unknown key" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["fail", "1"], 1, "error: the disk is full\n  free some space"),
        (["fail", "3"], 3, ""),
        (["fail", "0"], 0, ""),
        (["fail"], 2, "Missing argument"),
        (["run", "w", "--side", "many"], 2, "Invalid value"),
        (["run", "w", "--side", "-1"], 1, "shape.side"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_exit_codes_are_those_of_the_contract(program: Path, args: list[str], code: int, said: str) -> None:
    done = call(program, *args)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_is_130(program: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    job = subprocess.Popen(
        [sys.executable, str(program), "fail", "130"], stderr=subprocess.PIPE, text=True, env=env
    )
    assert job.stderr is not None
    assert job.stderr.readline() == "waiting\n"
    time.sleep(0.1)
    job.send_signal(signal.SIGINT)
    _, said = job.communicate(timeout=20)
    assert job.returncode == 130
    assert "Traceback" not in said


def test_one_flag_with_two_meanings_cannot_be_registered() -> None:
    class Encoder(Config):
        momentum: float = 0.999

    class Optimizer(Config):
        momentum: float = 0.9

    class Run(Config):
        encoder: Encoder = Encoder()
        optimizer: Optimizer = Optimizer()

    with pytest.raises(AssertionError, match="--momentum would mean"):
        console.configured(console.app("A program."), "run", Run)(lambda config: None)


def test_progress_of_bytes_has_sizes_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("fetch a.zip", None, console.BYTES) as shown:
        shown.expect(4_000_000)
        shown.advance(1_000_000)
        time.sleep(0.01)
    said = capsys.readouterr().err
    assert re.fullmatch(r"fetch a\.zip: 1\.0 MB of 4\.0 MB, [\d.,]+ MB/s, \d+ s left\n", said)
    with console.progress("build", 10, "items", 8) as shown:
        shown.advance(2)
    assert re.fullmatch(r"build: 10/10 items, [\d.,]+/s\n", capsys.readouterr().err)
