"""Slurm by scripts: what a cluster would be told, and the same set from an array run by a stand-in for sbatch."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from image_trees import digests, folder, rsdata, write_folder

from rsdata.build import _alone, build, run_task
from rsdata.engines import slurm
from rsdata.plan import make_plan
from shards.errors import ConfigError, UserError
from shards.store import Store

SBATCH = """#!/bin/sh
# Runs what it is given at once, as Slurm would later: every element of an array, or the script itself.
for word in "$@"; do script=$word; done
count=$(cat "$SPOOL/count" 2>/dev/null || echo 0); count=$((count + 1)); echo $count > "$SPOOL/count"
echo "$@" >> "$SPOOL/calls"
if [ "$1" = --parsable ]; then echo $count; exit; fi
array=$(sed -n 's/^#SBATCH --array=\\([^%]*\\).*/\\1/p' "$script")
if [ -z "$array" ] && [ "$DIES" != all ]; then sh "$script" >> "$SPOOL/log" 2>&1; fi
for part in $(echo "$array" | tr , ' '); do
    for id in $(seq "${part%-*}" "${part#*-}"); do
        [ "$id" = "$DIES" ] || SLURM_ARRAY_TASK_ID=$id sh "$script" >> "$SPOOL/log" 2>&1
    done
done
echo "Submitted batch job $count"
"""


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A plan of three shards, and an sbatch on the path."""
    root = write_folder(tmp_path / "in", {"a": 8, "b": 7})
    for name in ("out", "local"):
        make_plan(folder(root, samples_per_shard=5), tmp_path / name)
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(SBATCH)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("SPOOL", str(tmp_path))
    monkeypatch.setenv("DIES", "all")
    return tmp_path / "out"


def test_an_array_and_its_last_job_make_the_set(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Element 2 never runs: what it should have made is made by the job that finishes the set."""
    monkeypatch.setenv("DIES", "2")
    assert run_task(out, 1, workers=0)["made"] == [1]  # it need not be in the array then
    assert run_task(out, 1, of=2, workers=0)["made"] == []
    done = rsdata("build", out, "--engine", "slurm", "--submit", "--sbatch=--partition=cpu", "--workers", "8")
    assert done.returncode == 0 and "submitted job 1" in done.stderr and "rsdata status" in done.stdout
    array = (out / "slurm" / "array.sh").read_text()
    assert "#SBATCH --array=0,2%8\n" in array and "#SBATCH --partition=cpu\n" in array
    assert (out.parent / "calls").read_text() == "array.sh\n--dependency=afterany:1 finish.sh\n"
    log = (out.parent / "log").read_text()
    assert log.count("1 of 1 shards were missing and are made") == 1 and "finished: 15 samples" in log
    build(out.parent / "local", workers=0)
    assert digests(out) == digests(out.parent / "local")


def test_without_submit_it_says_what_to_type(out: Path) -> None:
    report = build(out, engine="slurm", sbatch=["--time=02:00:00"])
    assert not report.finished and report.next is not None and report.next in report.summary()
    assert subprocess.run(report.next, shell=True, check=False).returncode == 0
    calls = (out.parent / "calls").read_text().splitlines()
    assert calls == ["--parsable array.sh", "--dependency=afterany:1 finish.sh"]


def test_a_task_and_a_build_keep_each_other_out(out: Path) -> None:
    with _alone(Store(out), among_tasks=True):
        assert run_task(out, 0, workers=0)["made"] == [0]
        with pytest.raises(ConfigError, match="another build is at work here"):
            build(out, workers=0)
    with _alone(Store(out)), pytest.raises(ConfigError, match="another build is at work here"):
        run_task(out, 1, workers=0)


def test_many_shards_stay_within_an_array(tmp_path: Path) -> None:
    store = Store(tmp_path)
    slurm.write(store, range(25_000), at_once=None, options=())
    text = (tmp_path / "slurm" / "array.sh").read_text()
    assert "#SBATCH --array=0-999\n" in text and text.endswith("$SLURM_ARRAY_TASK_ID --of 1000\n")
    slurm.write(store, [7, 1007, 1009, 1010], at_once=2, options=())
    assert "#SBATCH --array=7,9-10%2\n" in (tmp_path / "slurm" / "array.sh").read_text()


def test_what_cannot_be_submitted_is_said(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=re.escape("is no option of sbatch; write it as --sbatch=--partition=cpu")
    ):
        build(out, engine="slurm", sbatch=["cpu\nrm -rf /"])
    (out.parent / "bin" / "sbatch").write_text("#!/bin/sh\necho 'error: invalid partition' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"sbatch refuses \(error: invalid partition\)"):
        build(out, engine="slurm", submit=True)
    monkeypatch.setenv("PATH", str(out))
    with pytest.raises(UserError, match="sbatch is not on this machine"):
        build(out, engine="slurm", submit=True)
    with pytest.raises(ConfigError, match=r"task 3: .* has the shards 0 to 2"):
        run_task(out, 3)
