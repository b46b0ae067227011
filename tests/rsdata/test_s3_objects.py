"""Unsigned S3 by its real client, and archives behind URLs as local folders."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from served_trees import BODY, QUICK, served

from rsdata.remote.cached import cached_folder
from rsdata.remote.objects import list_objects, read_object, url_of
from rsdata.remote.retry import Backoff, RemoteError
from rsdata.sources.rooted import Rooted
from shards.errors import ConfigError, UserError
from shards.failures import FailureClass


def test_every_key_is_listed_whatever_fails(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    (folder / "set" / "odd").mkdir(parents=True)
    keys = {f"set/{k:05d}.txt": str(k) for k in range(2300)} | {"set/odd/a b+c&<é>%.txt": "odd"}
    for key, text in keys.items():
        (folder / key).write_text(text)
    (folder / "setting").write_text("in no folder")
    with served(folder, faults=["500=0.2", "429=0.2", "cut=0.1"]) as host:
        endpoint = f"{host.url}/s3"
        found = list(list_objects("s3://b/set/", endpoint=endpoint, backoff=QUICK))
        assert found == sorted((key, len(text)) for key, text in keys.items())
        assert len(list(list_objects("s3://b", endpoint=endpoint, backoff=QUICK))) == len(keys) + 1
        assert list(list_objects("s3://b/nothing", endpoint=endpoint, backoff=QUICK)) == []
        key = "set/odd/a b+c&<é>%.txt"
        assert read_object(f"s3://b/{key}", endpoint=endpoint, backoff=QUICK) == b"odd"
        assert not any("authorization" in request.headers for request, _ in host.asked), "unsigned"


def test_ranges_and_classes_of_failures(tmp_path: Path) -> None:
    faults = ["403@closed=1.0", "503@busy=1.0", "cut@often=0.4", "404@lost=1.0", "truncated@short=1.0"]
    with served(tmp_path / "tree", faults=faults) as host:
        endpoint = f"{host.url}/s3"
        for name in ("closed", "busy", "often", "lost", "short", "whole"):
            (host.folder / name).write_bytes(BODY)
        (host.folder / "none").write_bytes(b"")
        for start, stop in ((0, None), (0, 10), (100, 4000), (len(BODY) - 5, len(BODY) + 5), (7, None)):
            data = read_object("s3://b/often", endpoint=endpoint, start=start, stop=stop, backoff=QUICK)
            assert data == BODY[start:stop]
        assert read_object("s3://b/none", endpoint=endpoint) == b""
        assert len(read_object("s3://b/short", endpoint=endpoint)) == len(BODY) // 2
        for name, kind in (
            ("closed", FailureClass.REFUSED),
            ("busy", FailureClass.TRANSIENT),
            ("lost", FailureClass.GONE),
            ("never", FailureClass.GONE),
        ):
            with pytest.raises(RemoteError) as caught:
                read_object(f"s3://b/{name}", endpoint=endpoint, backoff=QUICK)
            assert caught.value.kind is kind, name
        with pytest.raises(RemoteError) as caught:
            next(list_objects("s3://elsewhere", endpoint=endpoint))
        assert caught.value.kind is FailureClass.GONE
    with pytest.raises(RemoteError) as caught:
        read_object("s3://b/whole", endpoint="http://127.0.0.1:9/s3", backoff=Backoff(attempts=1))
    assert caught.value.kind is FailureClass.TRANSIENT
    for url, base in (("s3://", None), ("https://b/k", None), ("s3://b/k", "http://192.0.2.1/s3")):
        with pytest.raises(ConfigError):
            read_object(url, endpoint=base)
    assert url_of("s3://bucket/a b/ü.zip") == "https://bucket.s3.amazonaws.com/a%20b/%C3%BC.zip"
    assert url_of("s3://my.bucket/k") == "https://s3.amazonaws.com/my.bucket/k"


def zip_of(path: Path) -> str:
    """An archive and its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(20):
            archive.writestr(f"class/{k}.bin", BODY[k : k + 5000])
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


class Plain(Rooted):
    """A source that only has a root."""

    kind: str = "plain"


def test_a_folder_a_file_and_urls_give_the_same_folder(tmp_path: Path) -> None:
    with served(tmp_path / "tree", faults=["cut=0.2", "500=0.2"]) as host:
        digest = zip_of(host.folder / "a.zip")
        cache = tmp_path / "cache"
        local = shutil.copy(host.folder / "a.zip", tmp_path / "local.zip")
        roots = [str(local), f"{host.url}/files/b/a.zip?download=1", "s3://b/a.zip"]
        found = []
        for root in roots:
            source = Plain.build(root=root, checksum=digest, cache=cache, endpoint=f"{host.url}/s3")
            folder = source.folder()
            found.append({p.name: p.read_bytes() for p in sorted((folder / "class").iterdir())})
            count = len(host.asked)
            assert source.folder() == folder and len(host.asked) == count, "once"
            assert Plain.build(root=str(folder)).folder() == folder
        assert len(found[0]) == 20 and found[0] == found[1] == found[2]
        assert len([*cache.iterdir()]) == 3, "neither archive nor notes nor locks stay"
        wrong = "sha256:" + "0" * 64
        for root in roots:
            with pytest.raises(UserError, match=f"expected {wrong}"):
                Plain.build(root=root, checksum=wrong, cache=cache, endpoint=f"{host.url}/s3").folder()
        assert len([*cache.iterdir()]) == 3


BOTH = """
import sys
from pathlib import Path
from rsdata.remote.cached import cached_folder
print(len(list((cached_folder(sys.argv[1], cache=Path(sys.argv[2])) / "class").iterdir())))
"""


def test_two_processes_at_once_fetch_once(tmp_path: Path) -> None:
    with served(tmp_path / "tree", faults=["drip=first:1"]) as host:
        zip_of(host.folder / "a.zip")
        command = [sys.executable, "-c", BOTH, f"{host.url}/files/b/a.zip", str(tmp_path / "cache")]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [process.communicate(timeout=60)[0] for process in both] == ["20\n", "20\n"]
        assert host.statuses() == [200]
    assert len([*(tmp_path / "cache").iterdir()]) == 1


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("https://user:hunter2@example.org/a.zip", "must not hold a name and password"),
        ("https://example.org/a.zip?X-Amz-Signature=hunter2", "looks like a secret"),
        ("ftp://example.org/a.zip", "ftp:// is not read"),
        ("http://192.0.2.1/a.zip", "without TLS"),
        ("https://192.0.2.1/a.csv", "is no archive by its name"),
        ("nowhere", "neither a folder nor a file"),
    ],
)
def test_roots_that_are_of_no_use(tmp_path: Path, root: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        Plain.build(root=root, cache=tmp_path / "cache").ready()
    assert "hunter2" not in str(caught.value)
    assert not [*tmp_path.iterdir()] or not [*(tmp_path / "cache").iterdir()]


def test_a_checksum_beside_a_folder_is_said_to_be_of_no_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = zip_of(tmp_path / "a.zip")
    notice = f"{tmp_path}: is a folder, so nothing is compared with the checksum {digest}\n"
    for root, given, said in (
        (tmp_path, digest, True),
        (tmp_path, None, False),
        (tmp_path / "a.zip", digest, False),
    ):
        Plain.build(root=root, checksum=given, cache=tmp_path / "cache").ready()
        assert (notice in capsys.readouterr().err) == said
    with pytest.raises(ConfigError, match="'md5:1': is neither"):
        Plain.build(root=tmp_path, checksum="md5:1").ready()


def test_a_host_that_does_not_answer_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.zip: cannot be fetched \(transient: .*refuses connections\)"):
        cached_folder("http://127.0.0.1:9/a.zip?token=x", cache=tmp_path, backoff=Backoff(attempts=1))
    assert [*tmp_path.iterdir()] == []
