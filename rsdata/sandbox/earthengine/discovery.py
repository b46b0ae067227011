"""What the client asks before anything else: the API's description and the list of algorithms."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shards.errors import ConfigError


@lru_cache(maxsize=4)
def document(name: str) -> bytes:
    """A file that the client's own package carries for its tests.

    Raises:
        ConfigError: the package is not installed, or carries it no more.
    """
    spec = find_spec("ee")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "tests" / name
        if path.is_file():
            return path.read_bytes()
    raise ConfigError(f"earthengine-api does not carry tests/{name}; install earthengine-api 1.7")


def discovery() -> bytes:
    """The discovery document of the REST API."""
    return document("cloud_api_discovery_document.json")


def algorithms() -> bytes:
    """Every function that the service knows; the planet answers 400 with the name for those it does not have."""
    return document("algorithms.json")


@lru_cache(maxsize=1)
def signatures() -> dict[str, dict[str, Any]]:
    """Function -> argument -> its description."""
    listed = json.loads(algorithms())["algorithms"]
    return {
        row["name"].rpartition("algorithms/")[2]: {
            each["argumentName"]: each for each in row.get("arguments", [])
        }
        for row in listed
    }
