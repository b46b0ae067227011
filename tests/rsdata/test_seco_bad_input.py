"""What goes wrong with seasonal sampling, as a user meets it: one plain sentence and the contract's exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import shapely
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from served_planet import planet, run

from rsdata.sandbox.serve import Response, default_routes, sandbox
from shards.verify import verify

pytestmark = pytest.mark.slow
DONE, FAULT, SOME_FAILED = 0, 1, 3
BERLIN = "lon,lat\n13.4,52.5\n"
SEA = "lon,lat\n-140,-40\n-30,20\n"
EDGES = "lon,lat\n180,-16.55\n-180,68.9\n13.4,52.5\n"
POLES = "lon,lat\n13.4,52.5\n0,90\n0,-90\n"
HOLE = shapely.Polygon([(10, 50), (14, 50), (14, 54), (10, 54)], [[(11, 51), (13, 51), (13, 53), (11, 53)]])
BOW = shapely.Polygon([(10, 50), (14, 54), (14, 50), (10, 54)])
LINE = shapely.Polygon([(10, 50), (14, 50), (12, 50)])
REFRESH = '{"error": "invalid_grant", "error_description": "Token has been expired or revoked."}'


class Web(BaseHTTPRequestHandler):
    """Any page of the web: a portal that wants a login."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><html><body>Please log in.</body></html>")

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Silent."""


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """Planets by their faults, an endpoint that is down, and one that is a page of the web."""
    with sandbox() as down:
        pass
    portal = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    Thread(target=portal.serve_forever, daemon=True).start()
    tokens = [("/token", lambda _: Response(400, REFRESH.encode())), *default_routes()]
    page = f"http://127.0.0.1:{portal.server_address[1]}"
    with (
        planet() as good,
        sandbox(routes=tokens) as expired,
        sandbox(faults=["401=1"]) as unknown,
        sandbox(faults=["401@value=1"]) as lapsed,
        sandbox(faults=["403=1"]) as foreign,
        sandbox(faults=["shape@computePixels=1"]) as shape,
        sandbox(faults=["half@computePixels=1"]) as half,
        sandbox(faults=["nan@computePixels=1"]) as nan,
        sandbox(faults=["memory@computePixels=1"]) as memory,
    ):
        yield locals()
    portal.shutdown()


def account(folder: Path, url: str) -> Path:
    """The key file of a service account whose tokens come from a server of ours."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "key.json"
    facts = {"type": "service_account", "client_email": "a@b.example", "project_id": "p"}
    file.write_text(json.dumps(facts | {"private_key": key.decode(), "token_uri": f"{url}/token"}))
    return file


def csv(text: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / "places.csv").write_text(text)
        return ["--places", str(folder / "places.csv")]

    return write


def cities(text: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / "cities.csv").write_text(text)
        return ["--cities", str(folder / "cities.csv"), "--locations", "2"]

    return write


def polygons(*shapes: Any) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        features = [
            {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)}
            for shape in shapes
        ]
        (folder / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return ["--polygons", str(folder / "area.geojson"), "--locations", "3"]

    return write


CASES: dict[str, tuple[str | None, Callable[[Path], list[str]], list[str], int, str]] = {
    # name: endpoint, file, further options, exit code, what is said
    "no credentials": (None, csv(BERLIN), ["--credentials", "persistent"], FAULT, "earthengine authenticate"),
    "no key file": (None, csv(BERLIN), ["--credentials", "service-account"], FAULT, "names no key file"),
    "no project": (None, csv(BERLIN), [], FAULT, "give its name with --project"),
    "wrong project": ("foreign", csv(BERLIN), ["--project", "theirs"], FAULT, "denied for project 'theirs'"),
    "unknown account": ("unknown", csv(BERLIN), [], FAULT, "asks for credentials, and anonymous has none"),
    "expired token": ("expired", csv(BERLIN), ["--credentials", "service-account"], FAULT, "no longer valid"),
    "token expires in mid-build": ("lapsed", csv(BERLIN), [], FAULT, "asks for credentials"),
    "endpoint down": ("down", csv(BERLIN), [], FAULT, "refuses connections); check --endpoint"),
    "endpoint is a web page": ("page", csv(BERLIN), [], FAULT, "not with data"),
    "endpoint is no URL": ("x", csv(BERLIN), [], FAULT, "is not a URL"),
    "stac: endpoint down": ("down", csv(BERLIN), ["--provider", "stac"], FAULT, "is not a STAC API"),
    "stac: endpoint is a web page": ("page", csv(BERLIN), ["--provider", "stac"], FAULT, "is not a STAC API"),
    "region without scenes": ("good", csv(SEA), [], FAULT, "all 2 items failed, so there is no set"),
    "some without scenes": ("good", csv(BERLIN + "-30,20\n"), ["--cloud-percent", "30"], SOME_FAILED, "1 gone"),
    "all-cloud periods": ("good", csv(BERLIN), ["--cloud-percent", "1e-9"], FAULT, "no scene in 20"),
    "poles": ("good", csv(POLES), [], FAULT, "2 of 3 places lie beyond 84°"),
    "the antimeridian": ("good", csv(EDGES), ["--cloud-percent", "60"], DONE, "3 samples, 3 views"),
    "empty city file": ("good", cities(""), [], FAULT, "cities.csv"),
    "city file of headers": ("good", cities("city,lat,lng,population\n"), [], FAULT, "cities.csv"),
    "foreign city file": ("good", cities("a,b\n1,2\n"), [], FAULT, "cities.csv"),
    "polygon with a hole": ("good", polygons(HOLE), ["--cloud-percent", "30"], DONE, "3 samples"),
    "bad rings": ("good", polygons(BOW), ["--cloud-percent", "30"], DONE, "3 samples"),
    "rings without area": ("good", polygons(LINE), [], FAULT, "have no area"),
    "points for polygons": ("good", polygons(shapely.Point(1, 2)), [], FAULT, "only polygons have an inside"),
    "wrong shapes": ("shape", csv(BERLIN), [], FAULT, "sent pixels that are of shape (263, 264)"),
    "half arrays": ("half", csv(BERLIN), [], FAULT, "sent pixels that are cut off after"),
    "NaN": ("nan", csv(BERLIN), [], FAULT, "sent pixels that are not all finite"),
    "over the memory limit": ("memory", csv(BERLIN), [], FAULT, "User memory limit exceeded"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence_and_a_code(name: str, urls: dict[str, str], tmp_path: Path) -> None:
    endpoint, write, more, code, says = CASES[name]
    words = [*write(tmp_path), "--seasons", "2021-03-20", "--threads", "8", "--workers", "0", *more]
    if endpoint is not None:
        words += ["--endpoint", urls.get(endpoint, endpoint)]
    if "--credentials" not in more and "stac" not in more:
        words += ["--credentials", "anonymous"]
    env = {"HOME": str(tmp_path), "CLOUDSDK_CONFIG": str(tmp_path), "GOOGLE_APPLICATION_CREDENTIALS": ""}
    if name == "expired token":
        env["GOOGLE_APPLICATION_CREDENTIALS"] = str(account(tmp_path, urls["expired"]))
    got, out, err = run("run", "seco", tmp_path / "set", *words, env=env)
    assert got == code, out + err
    assert "Traceback" not in err
    if code == FAULT:
        assert err.count("error: ") == 1 and says in err, err
        sentence = err[err.index("error: ") :].splitlines()
        assert len(sentence) <= 2 and len(sentence[0]) < 500, err
        assert ("rsdata retry" in err) == ("sent pixels" in err), "only what the network did is worth it"
        assert not (tmp_path / "set" / "dataset.json").exists()
        assert not list((tmp_path / "set").rglob("*.part"))
    else:
        assert says in out, out
        assert verify(tmp_path / "set").ok


DISK = """
set -u
mount -t tmpfs -o size=3m none {mount}
run() {{ {python} -m rsdata run seco {mount}/out --samples-per-shard 1 --workers 1 {words} 2>> {said} >&2; echo $?; }}
run
ls -A {mount}/out {mount}/out/tasks | grep -c part; ls {mount}/out | grep -c dataset.json
mount -o remount,size=64m {mount}
run
{python} -m rsdata verify {mount}/out >&2; echo $?
"""


def test_a_full_disk_in_mid_build_is_said_and_survived(urls: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs a mount of its own (unshare -rm) for a small disk")
    (tmp_path / "disk").mkdir()
    words = [*csv(BERLIN + "14.4,52.5\n12.4,51.5\n")(tmp_path), "--cloud-percent", "60"]
    words += ["--endpoint", urls["good"], "--credentials", "anonymous"]
    script = DISK.format(
        mount=tmp_path / "disk", python=sys.executable, said=tmp_path / "said", words=" ".join(words)
    )
    done = subprocess.run(
        ["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True, env=os.environ, timeout=200
    )
    said = (tmp_path / "said").read_text()
    assert done.stdout.split() == ["1", "0", "0", "0", "0"], done.stdout + done.stderr + said
    assert said.count("the disk is full; nothing half was left behind") == 1 and "Traceback" not in said
