"""The local Earth Engine on its bad days: faults, limits, and the command that serves it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ee
import numpy as np
import pytest
import requests
from earthengine_client import connected, grid, june

from rsdata.sandbox.faults import KINDS, Fault, Mischief
from rsdata.sandbox.serve import PRIVATE_URL, sandbox
from shards.errors import ConfigError


@pytest.fixture(scope="module")
def five() -> Any:
    """An image of fives as the client writes it."""
    with connected():
        return json.loads(ee.serializer.toJSON(ee.Image.constant(5), for_cloud_api=True))


def test_the_client_absorbs_429() -> None:
    with connected(retries=3, faults=["429=first:1"]) as base:
        assert june().size().getInfo() > 0
        stats = requests.get(f"{base}/_sandbox/stats", timeout=5).json()
    assert stats["faults"] == {"429": 1}
    assert stats["by_path"]["value:compute"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_is_what_it_says(five: Any, kind: str) -> None:
    with sandbox(faults=[f"{kind}=first:1"], retry_after=3) as base:
        body = {
            "expression": five,
            "fileFormat": "NPY",
            "grid": grid([10, 0, 0, 0, -10, 0], 0, 0, 8, "EPSG:32633"),
        }
        link = f"{base}/v1/projects/p/image:computePixels"
        if kind == "cut":
            with pytest.raises(requests.exceptions.RequestException):
                requests.post(link, json=body, timeout=10)
            return
        answer = requests.post(link, json=body, timeout=10, allow_redirects=False)
        if kind == "private":
            assert (answer.status_code, answer.headers["Location"]) == (302, PRIVATE_URL)
            return
        if kind.isdecimal() or kind == "memory":
            assert answer.status_code == (400 if kind == "memory" else int(kind))
            assert kind != "429" or answer.headers["Retry-After"] == "3"
            return
        assert answer.status_code == 200
        if kind == "html":
            assert answer.text.startswith("<!DOCTYPE html>")
        elif kind in ("half", "truncated"):
            with pytest.raises(ValueError, match=r"reshape|EOF"):
                np.load(io.BytesIO(answer.content))
        else:
            array = np.load(io.BytesIO(answer.content))
            assert array.shape == ((7, 8) if kind == "shape" else (8, 8))
            assert np.isnan(array["constant"]).any() == (kind == "nan")


def test_which_requests_fail_is_a_function_of_the_seed_not_of_their_order() -> None:
    def drawn(order: list[int]) -> set[int]:
        mischief = Mischief([Fault.parse("500=0.2")], seed=4)
        return {k for k in order if mischief.choose("/v1/x", b"%d" % k)}

    numbers = list(range(500))
    assert drawn(numbers) == drawn(numbers[::-1])
    assert 60 < len(drawn(numbers)) < 140
    mischief = Mischief([Fault.parse("500@pixels=1.0")])
    assert mischief.choose("/value", b"") is None
    assert mischief.choose("/pixels", b"") is not None
    for text in ("500", "teapot=0.1", "429=2", "429=first:x", "429=first:-1", "=", ""):
        with pytest.raises(ConfigError, match="KIND=SHARE"):
            Fault.parse(text)


def test_too_many_at_once_are_told_so() -> None:
    with sandbox(concurrency=2, latency=0.2) as base, ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(
                lambda _: requests.get(f"{base}/v1/projects/p/algorithms", timeout=10).status_code, range(8)
            )
        )
    assert set(codes) == {200, 429}


def test_the_command_prints_its_url_first_and_ends_with_130() -> None:
    command = [sys.executable, "-m", "rsdata", "sandbox", "--fault", "503=1.0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        base = json.loads(process.stdout.readline())["url"]
        assert requests.get(f"{base}/_sandbox/stats", timeout=10).json()["requests"] == 0
        assert requests.get(f"{base}/v1/projects/p/value:compute", timeout=10).status_code == 503
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Traceback" not in said
    finally:
        process.kill()
    wrong = subprocess.run(
        [sys.executable, "-m", "rsdata", "sandbox", "--fault", "teapot=1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert wrong.returncode == 1
    assert "teapot" in wrong.stderr
    assert "Traceback" not in wrong.stderr
