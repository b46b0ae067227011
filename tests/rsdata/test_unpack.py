"""Archives: what is written, what is refused, and that nothing is left where one is."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rsdata.remote.member_writer import ArchiveError, Limits
from rsdata.remote.unpack import unpack

SMALL = Limits(total=1 << 30, ratio=20, floor=1 << 20, member=1 << 29, count=50)
Make = Callable[[Path], None]


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def zipped(*members: tuple[str, bytes], mode: int = 0) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members:
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, data)

    return make


def tarred(*members: tuple[str, bytes | tuple[bytes, str]], kind: str = "") -> Make:
    """Files; where a pair stands for data: type and target of a link or a device."""

    def make(path: Path) -> None:
        with tarfile.open(path, f"w:{kind}", format=tarfile.GNU_FORMAT) as archive:
            for name, data in members:
                info = tarfile.TarInfo(name)
                if isinstance(data, tuple):
                    info.type, info.linkname = data
                    archive.addfile(info)
                else:
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))

    return make


def encrypted(path: Path) -> None:
    zipped(("a.txt", b"secret"))(path)
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    path.write_bytes(data)


def lying(path: Path) -> None:
    """A zip that says 10 bytes and holds 10 million."""
    zipped(("a.txt", bytes(10_000_000)))(path)
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(mark) + at, 10)
    path.write_bytes(data)


def long_header(path: Path) -> None:
    """A tar whose header of a name goes on for 100 MB."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 100_000_000
    import gzip

    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(100):
            file.write(bytes(1_000_000))


def cut(make: Make, keep: float) -> Make:
    def made(path: Path) -> None:
        make(path)
        os.truncate(path, int(path.stat().st_size * keep))

    return made


def spoilt(path: Path) -> None:
    zipped(("good.txt", b"good"), ("bad.txt", os.urandom(5000)))(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def header_cut(path: Path) -> None:
    """Ends in the middle of the second header; `tarfile` alone takes that for the end."""
    tarred(("a", b"x" * 512), ("b", b"y"))(path)
    os.truncate(path, 1024 + 100)


GOOD = b"content"
LINK = 0o120777
HOSTILE: dict[str, tuple[Make, str]] = {
    "zip absolute": (zipped(("ok", GOOD), ("/tmp/evil", GOOD)), "'/tmp/evil' has an absolute path"),
    "zip drive": (zipped(("C:evil", GOOD)), "absolute path"),
    "zip parent": (zipped(("ok", GOOD), ("a/../../evil", GOOD)), "'a/../../evil' leads out"),
    "zip backslash": (zipped(("..\\evil", GOOD)), "backslash"),
    "zip link": (zipped(("evil", b"/etc/passwd"), mode=LINK), "'evil' is a link"),
    "zip device": (zipped(("evil", b""), mode=0o020666), "is no file"),
    "zip twice": (zipped(("a/b", GOOD), ("a//b", GOOD)), "'a//b' is there twice"),
    "zip case": (zipped(("Train/a", GOOD), ("train/b", GOOD)), "'train/b' collides with 'Train/'"),
    "zip case of files": (zipped(("a/x", GOOD), ("a/X", GOOD)), "'a/x' collides with 'a/X'"),
    "zip case of a file and a folder": (zipped(("a", GOOD), ("A/b", GOOD)), "'a' collides with 'A'"),
    "zip folder as file": (zipped(("a/b", GOOD), ("a", GOOD)), "'a' collides with 'a/'"),
    "zip accents": (zipped(("\u00e9.png", GOOD), ("e\u0301.png", GOOD)), "collides with"),
    "zip file as folder": (zipped(("a", GOOD), ("a/b", GOOD)), "'a/b' collides with 'a'"),
    "zip bomb": (zipped(("ok", GOOD), ("bomb", bytes(30_000_000))), "'bomb' brings .* as a bomb"),
    "zip lies": (lying, "damaged"),
    "zip encrypted": (encrypted, "is encrypted"),
    "zip damaged": (spoilt, "damaged at or after its member 'bad.txt'"),
    "zip cut": (cut(zipped(("a", os.urandom(3000))), 0.6), "damaged"),
    "zip too many": (zipped(*((f"{k}", b"") for k in range(60))), "'50' is one of more than 50"),
    "tar absolute": (tarred(("ok", GOOD), ("/tmp/evil", GOOD)), "'/tmp/evil' has an absolute path"),
    "tar parent": (tarred(("../evil", GOOD)), "leads out"),
    "tar symlink": (tarred(("out", (tarfile.SYMTYPE, "/tmp")), ("out/evil", GOOD)), "'out' is a link"),
    "tar hard link": (tarred(("evil", (tarfile.LNKTYPE, "/etc/passwd"))), "'evil' is a link"),
    "tar fifo": (tarred(("pipe", (tarfile.FIFOTYPE, ""))), "'pipe' is no file"),
    "tar device": (tarred(("null", (tarfile.CHRTYPE, ""))), "'null' is no file"),
    "tar twice": (tarred(("a", GOOD), ("./a", GOOD)), "'./a' is there twice"),
    "tar control": (tarred(("a\nb", GOOD)), "control character"),
    "tar long name": (tarred(("x" * 300, GOOD)), "too long a name"),
    "tar bomb": (tarred(("ok", GOOD), ("bomb", bytes(30_000_000)), kind="gz"), "'bomb' brings .* as a bomb"),
    "tar header bomb": (long_header, "header of"),
    "tar cut": (header_cut, "damaged at or after its member 'a'"),
    "tar cut at a member": (cut(tarred(("a", bytes(1536)), ("b", GOOD)), 0.2), "damaged"),
    "gz cut": (cut(tarred(("a", os.urandom(9000)), kind="gz"), 0.7), "damaged"),
    "bz2 cut": (cut(tarred(("a", os.urandom(9000)), kind="bz2"), 0.7), "damaged"),
    "xz cut": (cut(tarred(("a", os.urandom(9000)), kind="xz"), 0.7), "damaged"),
    "not an archive": (lambda path: path.write_bytes(b"BM" * 400) and None, "is no archive"),
    "not bz2": (lambda path: path.write_bytes(b"BZh" + b"x" * 400) and None, "damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(tmp_path: Path, case: str) -> None:
    make, reason = HOSTILE[case]
    archive, place = tmp_path / "in" / "archive", tmp_path / "place"
    archive.parent.mkdir()
    place.mkdir()
    make(archive)
    with pytest.raises(ArchiveError, match=reason) as caught:
        unpack(archive, place / "out", limits=SMALL)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [*place.iterdir()] == []
    assert not Path("/tmp/evil").exists()


FILES = {"a/1.txt": b"one", "a/b/2.bin": bytes(range(256)) * 9, "empty": b"", "ü/日本.txt": b"text"}
KINDS = ["zip", "", "gz", "bz2", "xz"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_unpacked(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "archive"
    (zipped(*FILES.items()) if kind == "zip" else tarred(*FILES.items(), kind=kind))(archive)
    leftover = tmp_path / ".out.part" / "old"  # of a call that was killed
    leftover.parent.mkdir()
    leftover.write_bytes(b"old")
    unpack(archive, tmp_path / "out", limits=SMALL)
    assert tree(tmp_path / "out") == FILES
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "out"}
    assert not any(path.stat().st_mode & 0o6111 for path in (tmp_path / "out").rglob("*.txt"))


def test_a_tar_of_a_folder_as_tar_makes_it(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "x").write_bytes(b"1")
    (tmp_path / "in" / ("n" * 150)).write_bytes(b"2")
    subprocess.run(["tar", "-czf", tmp_path / "t.tgz", "-C", tmp_path / "in", "."], check=True)
    unpack(tmp_path / "t.tgz", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "in")


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """BigEarthNet has nine million of them."""

    def peak(files: int) -> int:
        archive = tmp_path / f"{files}.tar"
        tarred(*((f"{k // 100:03d}/{'x' * 50}{k:06d}", b"") for k in range(files)))(archive)
        tracemalloc.start()
        unpack(archive, tmp_path / f"{files}")
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(4000) - peak(400) < 50 * 3600, "bytes for each file beyond what its folder takes"


UNPACK = """
import sys
from pathlib import Path
from rsdata.remote.unpack import unpack
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_while_unpacking_then_unpacked(tmp_path: Path) -> None:
    archive, out = tmp_path / "a.tar", tmp_path / "out"
    members = [(f"{k:04d}", os.urandom(1000)) for k in range(2500)]
    tarred(*members)(archive)
    process = subprocess.Popen([sys.executable, "-c", UNPACK, str(archive), str(out)])
    end = time.monotonic() + 30
    while not (tmp_path / ".out.part" / "0100").exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    assert not out.exists()
    unpack(archive, out)
    assert tree(out) == dict(members)
    assert not (tmp_path / ".out.part").exists()
