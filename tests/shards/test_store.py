from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shards.errors import ShardError
from shards.store import Store

SLOW_WRITER = """
import sys
from shards.store import Store
with Store(sys.argv[1]).create("a.bin") as file:
    file.write(b"x" * 1_000_000)
    file.flush()
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"half\n"
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    store = Store(tmp_path)
    assert len(list(tmp_path.iterdir())) == 1, "the part of the dead writer is there"
    assert store.names() == [], "and is not taken for a file"
    store.sweep()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_block_keeps_the_old_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a", b"old")
    with pytest.raises(ZeroDivisionError), store.create("a") as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert store.read("a") == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_full_disk_is_one_sentence_and_nothing_half(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; from shards.store import Store; from shards.errors import UserError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: Store(sys.argv[1]).write('a', b'x' * 100_000)\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert "a: cannot be written" in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"none\.tar: there is no such file"):
        Store(tmp_path).read("none.tar")
    with pytest.raises(ShardError, match="no reader for nonsense:// is installed"):
        Store("nonsense://x")
    (tmp_path / "file").touch()
    with pytest.raises(ShardError, match="cannot be made"):
        Store(tmp_path / "file" / "sub").make()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    old = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import s3fs

    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket/sets"
    server.stop()
    os.environ.clear()
    os.environ.update(old)


@pytest.mark.parametrize("kind", ["disk", "memory", "s3"])
def test_every_kind_of_folder_is_the_same(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = {"disk": str(tmp_path / "x"), "memory": f"memory://{tmp_path.name}/x"}.get(kind)
    store = Store(url or f"{request.getfixturevalue('s3')}/{tmp_path.name}")
    store.make()
    assert store.names() == []
    store.write("a.bin", b"0123456789")
    store.write("sub/b.bin", b"b")
    assert store.exists("a.bin")
    assert not store.exists("c")
    assert store.size("a.bin") == 10
    assert store.read("a.bin") == b"0123456789"
    assert store.read("a.bin", 2, 5) == b"234"
    assert store.read("a.bin", 0, 1) == b"0"
    assert store.names() == ["a.bin"]
    assert store.names("sub") == ["b.bin"]
    with pytest.raises(ZeroDivisionError), store.create("c") as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert not store.exists("c")
    store.write("a.bin", b"new")
    assert store.read("a.bin") == b"new"
    store.remove("a.bin")
    store.remove("a.bin")
    assert store.names() == []
    with pytest.raises(ShardError, match="no such file"):
        store.read("a.bin")


def test_a_whole_set_lies_behind_a_url(s3: str) -> None:
    from builders import Place, build_set, pattern
    from shards.index import Index
    from shards.verify import verify

    build_set(f"{s3}/whole", [Place([pattern(i)], label=i % 2) for i in range(5)], samples_per_shard=2)
    index = Index.open(f"{s3}/whole")
    assert len(index.read(4)) == index.table["length"][4].as_py()
    assert verify(f"{s3}/whole").ok
