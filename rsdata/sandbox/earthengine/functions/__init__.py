"""The functions that expressions may call, by the service's names."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from rsdata.sandbox.earthengine.catalog import image_named
from rsdata.sandbox.earthengine.collection import Collection
from rsdata.sandbox.earthengine.functions import (
    arithmetic,
    collections,
    dates,
    filters,
    geometry,
    grids,
    images,
    plain,
    reducers,
    samples,
    stacks,
)
from rsdata.sandbox.earthengine.values import Args, RequestError

Function = Callable[[Args], Any]


@lru_cache(maxsize=8)
def functions(seed: int) -> dict[str, Function]:
    """All of them, over the planet of a seed."""

    def load(a: Args) -> Any:
        image = image_named(a.text("id"), seed)
        if image is None:
            raise RequestError(
                f"Image.load: Image asset '{a.text('id')}' not found (does not exist or caller does not have access)."
            )
        return image

    table: dict[str, Function] = {}
    modules = (
        arithmetic,
        geometry,
        dates,
        filters,
        plain,
        reducers,
        collections,
        images,
        grids,
        samples,
        stacks,
    )
    for module in modules:
        table |= module.FUNCTIONS
    return table | {
        "Image.load": load,
        "ImageCollection.load": lambda a: Collection.load(a.text("id"), seed),
    }
