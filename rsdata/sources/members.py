"""Bytes of the members that are not pixels."""

from __future__ import annotations

import json
from typing import Any


def json_member(facts: dict[str, Any]) -> bytes:
    """Facts of a sample, the same bytes for the same facts; NaN is refused because JSON has none."""
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
