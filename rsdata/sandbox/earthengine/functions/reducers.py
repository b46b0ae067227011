"""Reducers: many values to one, of columns, of pixels in a region, and of images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsdata.sandbox.earthengine.functions.arithmetic import plain
from rsdata.sandbox.earthengine.values import Args, Reducer, RequestError

Stack = NDArray[np.float64]

_SIMPLE: dict[str, Callable[..., Any]] = {
    "mean": np.nanmean,
    "sum": np.nansum,
    "min": np.nanmin,
    "max": np.nanmax,
    "median": np.nanmedian,
    "stdDev": np.nanstd,
    "variance": np.nanvar,
    "count": lambda values, axis=None: np.sum(~np.isnan(values), axis=axis),
}
_OVER_IMAGES = ("mean", "sum", "min", "max", "median", "stdDev", "count")


def column(reducer: Reducer, rows: list[list[Any]]) -> dict[str, Any]:
    """Rows of selected properties -> named results; rows with a missing value are left out.

    Raises:
        RequestError: the reducer is not served.
    """
    rows = [row for row in rows if all(value is not None for value in row)]
    if reducer.name == "repeat":
        inner = reducer.options["reducer"]
        parts = [column(inner, [[row[k]] for row in rows]) for k in range(reducer.options["count"])]
        return {name: [part[name] for part in parts] for name in (parts[0] if parts else {})}
    if reducer.name == "toList":
        wide = reducer.options.get("tupleSize") or 0
        if wide == 0 and rows and len(rows[0]) != 1:
            raise RequestError(
                f"Collection.reduceColumns: Need 1 input for Reducer.toList, got {len(rows[0])}."
            )
        return {"list": [row[0] if wide == 0 else row[:wide] for row in rows]}
    first = [row[0] for row in rows]
    if reducer.name == "combine":
        return {
            **column(reducer.options["reducer1"], rows),
            **column(reducer.options["reducer2"], rows),
        }
    if reducer.name == "frequencyHistogram":
        return {"histogram": {str(value): count for value, count in Counter(first).items()}}
    if reducer.name == "first":
        return {"first": first[0] if first else None}
    if reducer.name == "countDistinct":
        return {"count": len(set(map(str, first)))}
    if reducer.name == "minMax":
        return {"min": min(first, default=None), "max": max(first, default=None)}
    if reducer.name == "count":
        return {"count": len(first)}
    if reducer.name in _SIMPLE:
        return {reducer.name: plain(_SIMPLE[reducer.name](np.array(first, np.float64))) if first else None}
    raise RequestError(f"Reducer.{reducer.name} is not served here.")


def region(reducer: Reducer, values: NDArray[Any], inside: NDArray[np.bool_]) -> dict[str, Any]:
    """Pixels -> results by the suffix that their names get."""
    if reducer.name == "combine":
        parts = [reducer.options["reducer1"], reducer.options["reducer2"]]
        return {
            suffix or part.name: value
            for part in parts
            for suffix, value in region(part, values, inside).items()
        }
    chosen = values[inside]
    if reducer.name == "frequencyHistogram":
        found, counts = np.unique(chosen, return_counts=True)
        return {"": {str(plain(value)): int(count) for value, count in zip(found, counts, strict=True)}}
    if reducer.name == "minMax":
        return (
            {"min": plain(chosen.min()), "max": plain(chosen.max())}
            if chosen.size
            else {"min": None, "max": None}
        )
    if reducer.name not in _SIMPLE:
        raise RequestError(f"Reducer.{reducer.name} is not served here.")
    if reducer.name == "count":
        return {"": int(chosen.size)}
    return {"": plain(_SIMPLE[reducer.name](chosen.astype(np.float64))) if chosen.size else None}


def images(name: str, stack: Stack) -> Stack:
    """[N, H, W] with NaN where masked -> [H, W].

    Raises:
        RequestError: the reducer is not served.
    """
    if name not in _OVER_IMAGES:
        raise RequestError(f"Reducer.{name} is not served here.")
    empty = np.asarray(np.isnan(stack).all(axis=0))
    safe = np.where(empty[None], 0, stack)
    return np.where(empty, 0 if name == "count" else np.nan, _SIMPLE[name](safe, axis=0))


def _reducer(name: str, a: Args) -> Reducer:
    return Reducer(name)


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    **{
        f"Reducer.{name}": partial(_reducer, name)
        for name in (*_SIMPLE, "first", "countDistinct", "frequencyHistogram", "minMax")
    },
    "Reducer.toList": lambda a: Reducer("toList", {"tupleSize": a.get("tupleSize")}),
    "Reducer.repeat": lambda a: Reducer("repeat", {"reducer": a["reducer"], "count": a.integer("count")}),
    "Reducer.combine": lambda a: Reducer("combine", {"reducer1": a["reducer1"], "reducer2": a["reducer2"]}),
}
