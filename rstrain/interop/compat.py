"""What GeRSP's three converter scripts do with names, oddities included; our own rules are in `families`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

CONVERTERS: dict[str, Callable[[str], str | None]] = {
    "gersp": lambda key: key if "backbone" in key else None,
    "cmid": lambda key: f"backbone.{key}",  # twice, where it was there before
    "geo_aware": lambda key: (
        key.replace("module.encoder_q", "backbone") if "module.encoder_q" in key else None
    ),
}
"""Script -> what a name becomes for OpenMMLab, None for a tensor that is left out."""


def openmmlab_names(converter: str, keys: Iterable[str]) -> dict[str, str]:
    """Name in the converted file -> name in the original, in the order of the original.

    Of two names that become the same the later tensor is kept, at the place of the first.
    """
    rule = CONVERTERS[converter]
    return {new: key for key in keys if (new := rule(key)) is not None}
