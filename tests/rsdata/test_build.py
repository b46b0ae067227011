"""Build, resume, retry: the final bytes depend on the plan alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow.parquet as pq
import pytest
from image_trees import digests, folder, write_folder

from rsdata.build import build, retry, status
from rsdata.plan import make_plan
from shards.errors import ConfigError, ShardError, UserError
from shards.index import Index

COUNTS = {"a": 20, "b": 20, "c": 20}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sixty images, one of them damaged."""
    root = write_folder(tmp_path / "in", COUNTS)
    (root / "b" / "broken.jpg").write_bytes(b"nothing")
    return root


def planned(root: Path, out: Path | str) -> Path | str:
    make_plan(folder(root, samples_per_shard=8, test_fraction=0.25), out)
    return out


@pytest.fixture
def whole(root: Path, tmp_path: Path) -> dict[str, str]:
    """Digests of a build in this process."""
    out = tmp_path / "whole"
    build(planned(root, out), workers=0)
    return digests(out)


def test_same_bytes_with_one_and_two_workers_and_in_parts(
    root: Path, tmp_path: Path, whole: dict[str, str]
) -> None:
    for workers in (1, 2):
        out = tmp_path / f"with{workers}"
        assert build(planned(root, out), workers=workers).failed == {"invalid": 1}
        assert digests(out) == whole
    part = tmp_path / "part"
    first = build(planned(root, part), workers=0, limit=10)
    assert (first.finished, first.shards_done, first.samples) == (False, 2, 16)
    assert not (part / "dataset.json").exists()
    with pytest.raises(ShardError, match="is not finished yet"):
        Index.open(part)
    assert build(part, workers=0).finished
    assert digests(part) == whole


def test_finished_set_is_left_alone(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    out = tmp_path / "whole"
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name != ".lock"}
    again = build(out)
    assert again.finished and again.seconds is None and again.failed == {"invalid": 1}
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_lost_and_torn_shards_are_made_again(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    out = tmp_path / "whole"
    (out / "imagefolder-train-000001.tar").unlink()
    os.truncate(out / "imagefolder-test-000000.tar", 5000)
    assert not status(out).finished
    assert build(out, workers=0).finished
    assert digests(out) == whole


def test_retry_touches_only_what_may_work_now(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    out = tmp_path / "out"
    planned(root, out)
    lost = root / "a" / "a_3.jpg"
    shutil.move(lost, tmp_path / "aside.jpg")
    lost.symlink_to(lost)  # a loop of links: the system refuses to open it, now
    assert build(out, workers=0).failed == {"invalid": 1, "transient": 1}

    again = retry(out, workers=0)
    rows = {r["item"]: r for r in pq.read_table(out / "failures.parquet").to_pylist()}
    assert rows["a/a_3.jpg"]["attempts"] == 2 and rows["b/broken.jpg"]["attempts"] == 1
    assert again.failed == {"invalid": 1, "transient": 1}

    lost.unlink()
    shutil.move(tmp_path / "aside.jpg", lost)
    assert retry(out, workers=0).failed == {"invalid": 1}
    assert digests(out) == whole
    assert retry(out, workers=0).seconds is None, "nothing transient is left"
    assert retry(out, all=True, workers=0).seconds is not None
    (row,) = pq.read_table(out / "failures.parquet").to_pylist()
    assert row["attempts"] == 2


def test_every_failure_can_be_listed(root: Path, tmp_path: Path) -> None:
    for k in range(7):
        (root / "b" / f"torn_{k}.jpg").write_bytes(b"x")
    planned(root, tmp_path / "out")
    first = build(tmp_path / "out", workers=0)
    assert len(first.first_failures) == 5 and f"rsdata status {tmp_path / 'out'} --all" in first.summary()
    assert len(status(tmp_path / "out", listed=None).first_failures) == 8, "one was broken before"


def test_nothing_but_failures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for i in range(3):
        (tmp_path / "in" / "a" / f"{i}.jpg").write_bytes(b"no")
    make_plan(folder(tmp_path / "in"), tmp_path / "out")
    with pytest.raises(
        UserError, match=r"all 3 items failed, so there is no set; the first: a/\d.jpg: not an image"
    ):
        build(tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert status(tmp_path / "out").failed == {"invalid": 3}
    assert not list((tmp_path / "out").glob("*.tar"))


def test_one_build_at_a_time(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    planned(root, out)
    (out / "tasks").mkdir()
    with (out / "tasks" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another build is at work here"):
            build(out)
    assert build(out, workers=0).finished


def test_memory_folder(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    url = f"memory://{tmp_path.name}/set"
    assert build(planned(root, url)).failed == {"invalid": 1}
    fsspec.filesystem("memory").get(f"/{tmp_path.name}/set/", str(tmp_path / "copy"), recursive=True)
    assert digests(tmp_path / "copy") == whole


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server on this machine."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("sets")
    yield "s3://sets/toy"
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
def test_object_store(root: Path, tmp_path: Path, whole: dict[str, str], bucket: str) -> None:
    import s3fs

    build(planned(root, bucket), workers=0, limit=10)
    report = build(bucket, workers=1)
    assert report.finished and report.failed == {"invalid": 1}
    assert build(bucket).seconds is None
    s3fs.S3FileSystem().get(bucket, str(tmp_path / "copy"), recursive=True)
    assert digests(tmp_path / "copy") == whole


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Three kills; `tests/chaos/kill_build.py 50` does more."""
    chaos = Path(__file__).parents[1] / "chaos" / "kill_build.py"
    done = subprocess.run(
        [sys.executable, chaos, "3", "--folder", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 kills" in done.stdout


@pytest.mark.slow
def test_interrupt_keeps_what_is_finished(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "in", {"a": 300, "b": 300}, side=256)
    out = tmp_path / "out"
    make_plan(folder(root, samples_per_shard=20), out)
    command = [sys.executable, "-m", "rsdata", "build", str(out), "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and status(out).shards_done < 2:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "run the same command again" in said and "Traceback" not in said
    assert 2 <= status(out).shards_done < 30
    assert not list(out.rglob("*.part")), "no part of a file is left behind"


FULL_DISK = """
set -u
mount -t tmpfs -o size=600k none {mount}
{python} -m rsdata plan imagefolder {mount}/out --root {root} --samples-per-shard 8 --test-fraction 0.25 >&2
{python} -m rsdata build {mount}/out --workers 2 2> {said}; echo $?
ls -A {mount}/out {mount}/out/tasks | grep -c part; ls {mount}/out | grep -c dataset.json
mount -o remount,size=64m {mount}
{python} -m rsdata build {mount}/out --workers 2 >&2; echo $?
cp -r {mount}/out {copy}
"""


@pytest.mark.slow
def test_full_disk(root: Path, tmp_path: Path, whole: dict[str, str]) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs a mount of its own (unshare -rm) for a small disk")
    write_folder(root, {"large": 30}, side=192)
    out = tmp_path / "roomy"
    build(planned(root, out), workers=0)
    names = {name: tmp_path / name for name in ("mount", "said", "copy")}
    names["mount"].mkdir()
    script = FULL_DISK.format(python=sys.executable, root=root, **names)
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, check=False
    )
    said = names["said"].read_text()
    assert done.stdout.split() == ["1", "0", "0", "3"], done.stdout + done.stderr + said
    assert "the disk is full; nothing half was left behind" in said and "Traceback" not in said
    assert digests(names["copy"]) == digests(out)
