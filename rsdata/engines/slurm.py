"""The Slurm engine: an array whose elements make shards, and a job after it that finishes the set."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from shards.console import say
from shards.errors import ConfigError, UserError
from shards.store import Store

FOLDER = "slurm"
ARRAY, FINISH = "array.sh", "finish.sh"
MOST = 1000
"""Elements of an array; clusters refuse more (MaxArraySize is 1,001 by default)."""


def write(store: Store, tasks: Sequence[int], *, at_once: int | None, options: Sequence[str]) -> str:
    """Write `slurm/array.sh` and `slurm/finish.sh` into the folder.

    Element `i` of the array makes the shards `i`, `i + of`, `i + 2 of`, …; only elements that have something to do are
    in it. The job after it makes what is still missing, whatever became of the elements, and finishes the set.

    Args:
        store: folder with plan.parquet, which every node sees under this name.
        tasks: numbers of the shards to make.
        at_once: elements that run at the same time; None is as many as Slurm lets.
        options: of sbatch, for both jobs, such as `--partition=cpu`.

    Returns:
        The command that submits them, for people.

    Raises:
        ConfigError: the folder is behind a URL; an option that is none.
    """
    if store.local is None:
        raise ConfigError(f"{store}: --engine slurm needs a folder that all nodes share")
    for option in options:
        if not option.startswith("-") or not option.isprintable():
            raise ConfigError(
                f"--sbatch {option!r}: is no option of sbatch; write it as --sbatch=--partition=cpu"
            )
    rsdata = f"{shlex.quote(sys.executable)} -m rsdata"
    out = shlex.quote(str(store.local))
    of = min(MOST, max(tasks) + 1)
    array = _ranges(sorted({k % of for k in tasks})) + (f"%{at_once}" if at_once else "")
    make = f"{rsdata} run-task {out} $SLURM_ARRAY_TASK_ID --of {of}"
    texts = {
        ARRAY: _script("%A_%a", [f"--array={array}", *options], make),
        FINISH: _script("%j", options, f"{rsdata} build {out}"),
    }
    for name, text in texts.items():
        store.write(f"{FOLDER}/{name}", text.encode())
    where = shlex.quote(str(store.local / FOLDER))
    return f"cd {where} && sbatch --dependency=afterany:$(sbatch --parsable {ARRAY}) {FINISH}"


def submit(store: Store) -> str:
    """Submit what `write` wrote; no lock of the folder may be held, for the jobs may start at once.

    Returns:
        The next step, for people.

    Raises:
        UserError: sbatch is not there, or refuses.
    """
    assert store.local is not None
    folder = store.local / FOLDER
    array = _sbatch(folder, ARRAY)
    finish = _sbatch(folder, f"--dependency=afterany:{array}", FINISH)
    say(
        f"submitted job {array}, an array that makes the shards, and job {finish}, which finishes the set after it"
    )
    return f"rsdata status {store}"


def _script(log: str, options: Sequence[str], command: str) -> str:
    lines = ["--job-name=rsdata", f"--output={log}.log", "--requeue", *options]
    directives = "\n".join(f"#SBATCH {line}" for line in lines)
    return f"#!/bin/sh\n{directives}\nexec {command}\n"


def _ranges(numbers: Sequence[int]) -> str:
    """`0-3,7,9-10` of sorted numbers."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def _sbatch(folder: Path, *words: str) -> str:
    """The number of the submitted job; its log will lie in the folder."""
    try:
        done = subprocess.run(["sbatch", *words], capture_output=True, text=True, check=False, cwd=folder)
    except FileNotFoundError:
        raise UserError(
            "sbatch is not on this machine; run this on a login node of the cluster, or leave out --submit"
        ) from None
    said = re.search(r"Submitted batch job (\d+)", done.stdout)
    if done.returncode or said is None:
        raise UserError(
            f"sbatch refuses ({' '.join((done.stderr or done.stdout).split())[:300]}); nothing is lost, mend it with "
            f"--sbatch or in {folder} and submit again"
        )
    return said[1]
