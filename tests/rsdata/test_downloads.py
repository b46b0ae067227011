"""Large files over HTTP, real servers and real kills; and where redirects may lead."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from served_trees import BODY, QUICK, client, served

from rsdata.remote import reach
from rsdata.remote.files import download
from rsdata.remote.http import client_for
from rsdata.remote.reach import Reach
from rsdata.remote.retry import Backoff, RemoteError
from rsdata.sandbox.serve import PRIVATE_URL, Request, Response
from shards.console import Progress
from shards.errors import ConfigError
from shards.failures import FailureClass

SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
MD5 = f"md5:{hashlib.md5(BODY).hexdigest()}"
ONCE = Backoff(attempts=1)

FETCH = """
import sys
from pathlib import Path
from rsdata.remote.files import download
from rsdata.remote.http import client_for
download(sys.argv[1], Path(sys.argv[2]), client=client_for(sys.argv[1]))
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_killed_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    out = tmp_path / "out" / "a.tar"
    with served(tmp_path / "tree", faults=["drip=first:1"]) as host:
        (host.folder / "a.tar").write_bytes(BODY)
        url = f"{host.url}/files/b/a.tar"
        process = subprocess.Popen([sys.executable, "-c", FETCH, url, str(out)])
        part = out.parent / ".a.tar.part"
        end = time.monotonic() + 30
        while not part.exists() or part.stat().st_size < len(BODY) // 3:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        assert not out.exists(), "a half file must never carry the final name"
        have = part.stat().st_size
        shown = Progress("a", None, "B")
        download(url, out, client=client(tmp_path, url), digest=SHA, progress=shown)
        request, response = host.asked[-1]
    assert out.read_bytes() == BODY
    assert request.headers["range"] == f"bytes={have}-"
    assert len(response.body) == len(BODY) - have < 0.7 * len(BODY)
    assert names(out.parent) == {"a.tar", ".a.tar.from.json"}
    assert (shown.done, shown.total) == (len(BODY), len(BODY))


def test_faults_on_the_way_change_nothing(tmp_path: Path) -> None:
    with served(tmp_path / "tree", faults=["cut=0.5", "429=0.1", "500=0.1", "html=0.1"]) as host:
        for k in range(6):
            (host.folder / f"{k}.bin").write_bytes(BODY[k:])
            url = f"{host.url}/files/b/{k}.bin"
            download(url, tmp_path / f"{k}.bin", client=client(tmp_path, url), backoff=QUICK)
            assert (tmp_path / f"{k}.bin").read_bytes() == BODY[k:]
        assert 206 in host.statuses()
        assert host.sent() < 1.8 * 6 * len(BODY), "what is here is not asked for again"


class Impatient(Progress):
    """Somebody who presses Ctrl-C when the first bytes are here."""

    def advance(self, count: int = 1, note: str | None = None) -> None:
        if count:
            raise KeyboardInterrupt


def test_a_file_that_changed_meanwhile_is_begun_anew(tmp_path: Path) -> None:
    out = tmp_path / "a.bin"
    with served(tmp_path / "tree", faults=["drip=first:1"]) as host:
        (host.folder / "a.bin").write_bytes(BODY)
        url = f"{host.url}/files/b/a.bin"
        with pytest.raises(KeyboardInterrupt):
            download(url, out, client=client(tmp_path, url), progress=Impatient("a", None, "B"))
        assert (tmp_path / ".a.bin.part").stat().st_size > 0
        (host.folder / "a.bin").write_bytes(BODY[::-1])
        download(url, out, client=client(tmp_path, url))
        assert "if-range" in host.asked[-1][0].headers
        assert host.statuses()[-1] == 200
    assert out.read_bytes() == BODY[::-1]


def test_what_is_there_is_asked_for_only_if_it_changed(tmp_path: Path) -> None:
    out = tmp_path / "a.bin"
    with served(tmp_path / "tree") as host:
        (host.folder / "a.bin").write_bytes(BODY)
        url = f"{host.url}/files/b/a.bin"
        for _ in range(2):
            download(url, out, client=client(tmp_path, url))
        assert host.statuses() == [200, 304]
        (host.folder / "a.bin").write_bytes(b"new")
        download(url, out, client=client(tmp_path, url))
        assert out.read_bytes() == b"new"
        count = len(host.asked)
        out.write_bytes(BODY)
        download(url, out, client=client(tmp_path, url), digest=MD5)
        assert len(host.asked) == count, "a file with the digest needs no call"
        assert out.read_bytes() == BODY


@pytest.mark.parametrize("digest", [SHA, MD5])
def test_a_wrong_digest_is_named_and_leaves_nothing(tmp_path: Path, digest: str) -> None:
    out = tmp_path / "out" / "a.bin"
    with served(tmp_path / "tree", faults=["flip=1.0"]) as host:
        (host.folder / "a.bin").write_bytes(BODY)
        url = f"{host.url}/files/b/a.bin"
        with pytest.raises(RemoteError, match=f"has the digest .*, expected {digest}") as caught:
            download(url, out, client=client(tmp_path, url), digest=digest)
        assert len(host.asked) == 1
    assert caught.value.kind is FailureClass.INVALID
    assert names(out.parent) == set()


def hang(request: Request) -> Response:
    time.sleep(1)
    return Response(200, BODY)


def test_each_failure_has_its_class(tmp_path: Path) -> None:
    out = tmp_path / "out" / "a.bin"
    faults = ["503@busy=1.0", "html@page=1.0", "private@away=1.0"]
    with served(tmp_path / "tree", faults=faults, more=[("/hang", hang)]) as host:
        for name in ("a", "busy", "page", "away"):
            (host.folder / name).write_bytes(BODY)
        for path, kind, reason in (
            ("/files/b/none", FailureClass.GONE, "404"),
            ("/files/b/busy", FailureClass.TRANSIENT, "503"),
            ("/files/b/page", FailureClass.TRANSIENT, "web page"),
            ("/files/b/away", FailureClass.REFUSED, "private"),
            ("/hang", FailureClass.TRANSIENT, "in time"),
        ):
            url = host.url + path
            with pytest.raises(RemoteError, match=reason) as caught:
                download(url, out, client=client(tmp_path, url), backoff=ONCE, stall_s=0.2)
            assert caught.value.kind is kind
        url = f"{host.url}/files/b/a"
        with pytest.raises(RemoteError, match=r"has 1,048,576 bytes, expected 7") as caught:
            download(url, out, client=client(tmp_path, url), size=7)
        assert caught.value.kind is FailureClass.INVALID
        with pytest.raises(ConfigError, match="correct it"):
            download(url, out, client=client(tmp_path, url), digest="sha256:123")
    assert not out.exists()


def test_a_server_that_drips_holds_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out" / "a.bin"
    with served(tmp_path / "tree", faults=["drip=1.0"]) as host:
        (host.folder / "a.bin").write_bytes(BODY[:400])
        url = f"{host.url}/files/b/a.bin"
        with pytest.raises(RemoteError, match="fewer than 1,000 bytes a second") as caught:
            download(url, out, client=client(tmp_path, url), backoff=Backoff(2, 0.001), stall_s=1.0)
        assert caught.value.kind is FailureClass.TRANSIENT
        assert len(host.asked) == 2, "bytes came, but too few for another round"
    assert 0 < (out.parent / ".a.bin.part").stat().st_size < 400, "they are kept"


def hop(request: Request) -> Response:
    """`/hop/3` leads to `/hop/2` …, `/hop/0` says so; `/hop/to?URL` leads there; `/hop/see` shows the headers."""
    what = request.path.removeprefix("/hop/")
    if what == "0":
        return Response.of("arrived")
    if what == "see":
        return Response.of(dict(request.headers))
    target = request.query["url"] if what == "to" else f"{request.base_url}/hop/{int(what) - 1}"
    return Response(302, headers={"Location": target})


def test_redirects_are_followed_five_times(tmp_path: Path) -> None:
    with served(tmp_path / "tree", more=[("/hop/", hop)]) as host:
        http = client(tmp_path, host.url)
        assert http.get(f"{host.url}/hop/5").json() == "arrived"
        assert http.get(f"{host.url}/hop/5", allow_redirects=False).status_code == 302
        with pytest.raises(RemoteError, match="redirects more than 5 times") as caught:
            http.get(f"{host.url}/hop/6")
        assert caught.value.kind is FailureClass.REFUSED


@pytest.mark.parametrize(
    ("target", "network"),
    [
        (PRIVATE_URL, "private"),
        ("http://169.254.169.254/latest", "link-local"),
        ("http://user:hunter2@192.168.1.1/", "private"),
        ("http://[::ffff:10.1.2.3]/", "private"),
        ("http://[fe80::1]/", "link-local"),
        ("http://0.0.0.0/", "private"),
        ("ftp://ftp.example.org/a", "not a URL that can be called"),
        ("file:///etc/passwd", "not a URL that can be called"),
    ],
)
def test_redirects_into_closed_networks_are_refused(tmp_path: Path, target: str, network: str) -> None:
    with served(tmp_path / "tree", more=[("/hop/", hop)]) as host:
        with pytest.raises(RemoteError, match=f"redirects to .* {network}") as caught:
            client(tmp_path, host.url).get(f"{host.url}/hop/to", params={"url": target})
        assert len(host.asked) == 1
    assert caught.value.kind is FailureClass.REFUSED
    assert "hunter2" not in str(caught.value)


def test_only_what_is_allowed_of_a_closed_network(tmp_path: Path) -> None:
    with (
        served(tmp_path / "one", more=[("/hop/", hop)]) as host,
        served(tmp_path / "two", more=[("/hop/", hop)]) as other,
    ):
        there = {"url": f"{other.url}/hop/see"}
        options = {"headers": {"Authorization": "Bearer s3cret", "X-Mine": "1"}, "params": there}
        seen = client(tmp_path, host.url).get(f"{host.url}/hop/to", **options).json()
        assert "authorization" not in seen and seen["x-mine"] == "1", (
            "a secret is for the host it was given to"
        )
        strict = client(tmp_path, host.url, allow=[urlsplit(host.url).netloc])
        assert strict.get(f"{host.url}/hop/0").json() == "arrived"
        with pytest.raises(RemoteError, match="in a loopback network"):
            strict.get(f"{host.url}/hop/to", params=there)
        assert len(other.asked) == 1


def test_a_name_that_means_another_address_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        reach, "scopes_of", lambda host: frozenset({"open"})
    )  # what the name server said first
    with served(tmp_path / "tree", more=[("/hop/", hop)]) as host:
        http = client(tmp_path, "https://archive.example.org", allow=())
        with pytest.raises(
            RemoteError, match=r"is 127\.0\.0\.1 now, which is in a loopback network"
        ) as caught:
            http.get(f"http://localhost:{urlsplit(host.url).port}/hop/0")
        assert caught.value.kind is FailureClass.REFUSED
        assert host.asked == []


def test_tls_is_not_given_up() -> None:
    rules = Reach("https://93.184.215.14/")
    rules.check("https://93.184.215.14/b", before="https://93.184.215.14/a")
    with pytest.raises(RemoteError, match=r"redirects to http://.*without TLS"):
        rules.check("http://93.184.215.14/b", before="https://93.184.215.14/a")


def test_one_client_for_a_host() -> None:
    one, two = client_for("http://127.0.0.1:1/a?x"), client_for("http://user:pw@127.0.0.1:1/b")
    assert one is two
    assert one.limiter is not client_for("http://127.0.0.1:2/").limiter
