"""Strings, lists, dictionaries, projections and conditions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from rsdata.sandbox.earthengine.functions.arithmetic import plain
from rsdata.sandbox.earthengine.image import Image
from rsdata.sandbox.earthengine.values import Args, PixelType, Projection, RequestError


def _string(a: Args) -> str:
    value = a["input"]
    return value if isinstance(value, str) else str(value)


def _get(a: Args) -> Any:
    values, index = a.items("list"), a.integer("index")
    if not -len(values) <= index < len(values):
        raise RequestError(
            f"List.get: List index must be between 0 and {len(values) - 1}, or -{len(values)} and -1. Found: {index}."
        )
    return values[index]


def _map(a: Args) -> list[Any]:
    values = [a["baseAlgorithm"](each) for each in a.items("list")]
    return [each for each in values if each is not None] if a.get("dropNulls") else values


def _iterate(a: Args) -> Any:
    state = a["first"]
    for each in a.items("list"):
        state = a["function"](each, state)
    return state


def _sequence(a: Args) -> list[Any]:
    start, step = a.number("start"), a.number("step", 1)
    if a.get("count") is not None:
        count = a.integer("count")
        if a.get("end") is not None and count > 1:
            step = (a.number("end") - start) / (count - 1)
    else:
        if step == 0:
            raise RequestError("List.sequence: step must not be 0.")
        count = int((a.number("end") - start) / step + 1e-9) + 1
    if count > 1_000_000:
        raise RequestError("User memory limit exceeded.")
    return [plain(start + step * k) for k in range(max(count, 0))]


def _flatten(values: list[Any]) -> list[Any]:
    return [inner for each in values for inner in (_flatten(each) if isinstance(each, list) else [each])]


def _sort(a: Args) -> list[Any]:
    values = a.items("list")
    keys = a.get("keys") or values
    return [value for _, value in sorted(zip(keys, values, strict=True), key=lambda pair: pair[0])]


def _distinct(a: Args) -> list[Any]:
    out: list[Any] = []
    for each in a.items("list"):
        if each not in out:
            out.append(each)
    return out


def _repeat(a: Args) -> list[Any]:
    count = a.integer("count")
    if count > 1_000_000:
        raise RequestError("User memory limit exceeded.")
    return [a["value"]] * count


def _dictionary(a: Args) -> dict[str, Any]:
    value = a.get("input", {})
    if isinstance(value, list):
        return dict(zip(value[::2], value[1::2], strict=True))
    if not isinstance(value, dict):
        raise a.wrong("input", "Dictionary", value)
    return value


def _dictionary_get(a: Args) -> Any:
    values, key = a.record("dictionary"), a.text("key")
    if key not in values:
        if a.given("defaultValue"):
            return a.get("defaultValue")
        raise RequestError(f"Dictionary.get: Dictionary does not contain key: '{key}'.")
    return values[key]


def _dictionary_select(a: Args) -> dict[str, Any]:
    values, names = a.record("dictionary"), a.items("selectors")
    missing = [name for name in names if name not in values]
    if missing and not a.get("ignoreMissing"):
        raise RequestError(f"Dictionary.select: Dictionary does not contain key: '{missing[0]}'.")
    return {name: values[name] for name in names if name in values}


def _dictionary_remove(a: Args) -> dict[str, Any]:
    gone = set(a.items("selectors"))
    return {name: value for name, value in a.record("dictionary").items() if name not in gone}


def _combine(a: Args) -> dict[str, Any]:
    first, second = a.record("first"), a.record("second")
    return {**first, **second} if a.get("overwrite", True) else {**second, **first}


def projection_of(value: Any, transform: Any = None, scale: float | None = None) -> Projection:
    """A projection of a CRS code or a projection, with another grid if one is given.

    Raises:
        RequestError: it is not one.
    """
    if isinstance(value, Projection):
        found = value
    elif isinstance(value, str) and re.fullmatch(r"EPSG:\d{4,5}", value):
        found = Projection(value)
    else:
        raise RequestError(f"Projection: The CRS of a map projection could not be parsed: {value!r}.")
    if transform is not None:
        if len(transform) != 6:
            raise RequestError("Projection: a transform has six numbers.")
        a, b, c, d, e, f = (float(each) for each in transform)
        return Projection(found.crs, (a, b, c, d, e, f))
    return found if scale is None else found.scaled(scale)


def _projection_transform(a: Args) -> str:
    t = a["projection"].transform
    names = ("elt_0_0", "elt_0_1", "elt_0_2", "elt_1_0", "elt_1_1", "elt_1_2")
    rows = "".join(f'  PARAMETER["{name}", {value}],\n' for name, value in zip(names, t, strict=True))
    return f'PARAM_MT["Affine",\n  PARAMETER["num_row", 3],\n  PARAMETER["num_col", 3],\n{rows[:-2]}]'


def _type(a: Args) -> str:
    value = a.get("value")
    if isinstance(value, Image):
        return "Image"
    names = {str: "String", int: "Integer", float: "Float", bool: "Boolean", list: "List", dict: "Dictionary"}
    return "Null" if value is None else names.get(type(value), type(value).__name__)


FUNCTIONS: dict[str, Callable[[Args], Any]] = {
    "String": _string,
    "String.cat": lambda a: a.text("string1") + a.text("string2"),
    "String.length": lambda a: len(a.text("string")),
    "String.slice": lambda a: a.text("string")[a.integer("start") : a.get("end")],
    "String.split": lambda a: (
        re.split(a.text("regex"), a.text("string")) if a["regex"] else list(a.text("string"))
    ),
    "String.index": lambda a: a.text("target").find(a.text("pattern")),
    "String.trim": lambda a: a.text("string").strip(),
    "String.toLowerCase": lambda a: a.text("string").lower(),
    "String.toUpperCase": lambda a: a.text("string").upper(),
    "String.replace": lambda a: re.sub(
        a.text("regex"), a.text("replacement"), a.text("input"), count="g" not in a.get("flags", "")
    ),
    "String.equals": lambda a: a.get("string") == a.get("target"),
    "Number.format": lambda a: a.get("pattern", "%s") % a.number("number"),
    "Number.parse": lambda a: plain(float(a.text("input"))),
    "Number.clamp": lambda a: min(max(a.number("number"), a.number("min")), a.number("max")),
    "List.get": _get,
    "List.getNumber": _get,
    "List.getString": _get,
    "List.map": _map,
    "List.iterate": _iterate,
    "List.size": lambda a: len(a.items("list")),
    "List.length": lambda a: len(a.items("list")),
    "List.slice": lambda a: a.items("list")[a.integer("start") : a.get("end") : a.get("step", 1)],
    # Earth Engine's zip ends with the shorter list.
    "List.zip": lambda a: [list(pair) for pair in zip(a.items("list"), a.items("other"), strict=False)],
    "List.flatten": lambda a: _flatten(a.items("list")),
    "List.sequence": _sequence,
    "List.contains": lambda a: a.get("element") in a.items("list"),
    "List.sort": _sort,
    "List.reverse": lambda a: a.items("list")[::-1],
    "List.add": lambda a: [*a.items("list"), a.get("element")],
    "List.cat": lambda a: [*a.items("list"), *a.items("other")],
    "List.distinct": _distinct,
    "List.repeat": _repeat,
    "List.indexOf": lambda a: a.items("list").index(a["element"]) if a["element"] in a.items("list") else -1,
    "List.join": lambda a: a.get("separator", "").join(str(each) for each in a.items("list")),
    "List.removeAll": lambda a: [each for each in a.items("list") if each not in a.items("other")],
    "Dictionary": _dictionary,
    "Dictionary.get": _dictionary_get,
    "Dictionary.getNumber": _dictionary_get,
    "Dictionary.getString": _dictionary_get,
    "Dictionary.set": lambda a: {**a.record("dictionary"), a.text("key"): a.get("value")},
    "Dictionary.keys": lambda a: sorted(a.record("dictionary")),
    "Dictionary.values": lambda a: [
        a.record("dictionary")[key] for key in (a.get("keys") or sorted(a.record("dictionary")))
    ],
    "Dictionary.contains": lambda a: a.text("key") in a.record("dictionary"),
    "Dictionary.size": lambda a: len(a.record("dictionary")),
    "Dictionary.select": _dictionary_select,
    "Dictionary.remove": _dictionary_remove,
    "Dictionary.combine": _combine,
    "Dictionary.fromLists": lambda a: dict(zip(a.items("keys"), a.items("values"), strict=True)),
    "Dictionary.map": lambda a: {
        key: a["baseAlgorithm"](key, value) for key, value in a.record("dictionary").items()
    },
    "Projection": lambda a: projection_of(a["crs"], a.get("transform")),
    "Projection.crs": lambda a: a["projection"].crs,
    "Projection.nominalScale": lambda a: a["proj"].metres,
    "Projection.atScale": lambda a: a["projection"].scaled(a.number("meters")),
    "Projection.transform": _projection_transform,
    "PixelType": lambda a: PixelType(a.text("precision"), a.get("minValue"), a.get("maxValue")),
    "If": lambda a: a.get("trueCase") if a.get("condition") else a.get("falseCase"),
    "IsEqual": lambda a: a.get("left") == a.get("right"),
    "ObjectType": _type,
}
