"""Arithmetic that numbers and images share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rsdata.sandbox.earthengine.image import as_image, combine, each
from rsdata.sandbox.earthengine.values import Args, RequestError

Function = Callable[[Args], Any]


def _wide(a: str, b: str) -> str:
    made = np.result_type(a, b)
    return str(made) if made.kind == "f" else str(np.result_type(made, np.int32))


def _real(a: str, b: str) -> str:
    return "float64" if "float64" in (a, b) else "float32"


def _truth(a: str, b: str) -> str:
    return "uint8"


def _same(a: str, b: str) -> str:
    return str(np.result_type(a, b))


_Pair = tuple[Callable[[Any, Any], Any], Callable[[str, str], str]]
_TWO: dict[str, _Pair] = {
    "add": (lambda a, b: _up(a) + _up(b), _wide),
    "subtract": (lambda a, b: _up(a) - _up(b), _wide),
    "multiply": (lambda a, b: _up(a) * _up(b), _wide),
    "divide": (lambda a, b: np.where(b == 0, 0.0, a / np.where(b == 0, 1, b)), _real),
    "mod": (lambda a, b: np.where(b == 0, 0, np.fmod(_up(a), np.where(b == 0, 1, _up(b)))), _wide),
    "pow": (lambda a, b: np.power(_float(a), _float(b)), _real),
    "max": (np.maximum, _same),
    "min": (np.minimum, _same),
    "hypot": (lambda a, b: np.hypot(_float(a), _float(b)), _real),
    "atan2": (lambda a, b: np.arctan2(_float(b), _float(a)), _real),
    "eq": (np.equal, _truth),
    "neq": (np.not_equal, _truth),
    "lt": (np.less, _truth),
    "lte": (np.less_equal, _truth),
    "gt": (np.greater, _truth),
    "gte": (np.greater_equal, _truth),
    "and": (np.logical_and, _truth),
    "or": (np.logical_or, _truth),
    "bitwiseAnd": (lambda a, b: _whole(a) & _whole(b), _wide),
    "bitwiseOr": (lambda a, b: _whole(a) | _whole(b), _wide),
    "bitwiseXor": (lambda a, b: _whole(a) ^ _whole(b), _wide),
    "leftShift": (lambda a, b: _whole(a) << np.clip(_whole(b), 0, 62), _wide),
    "rightShift": (lambda a, b: _whole(a) >> np.clip(_whole(b), 0, 62), _wide),
}
_ONE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "abs": (lambda a: np.abs(_up(a)), ""),
    "ceil": (np.ceil, ""),
    "floor": (np.floor, ""),
    "round": (lambda a: np.floor(_float(a) + 0.5), ""),
    "not": (lambda a: a == 0, "uint8"),
    "sqrt": (lambda a: np.sqrt(_float(a)), "float64"),
    "exp": (lambda a: np.exp(_float(a)), "float64"),
    "log": (lambda a: np.log(_float(a)), "float64"),
    "log10": (lambda a: np.log10(_float(a)), "float64"),
    "sin": (lambda a: np.sin(_float(a)), "float64"),
    "cos": (lambda a: np.cos(_float(a)), "float64"),
    "tan": (lambda a: np.tan(_float(a)), "float64"),
    "signum": (lambda a: np.sign(_up(a)), ""),
}
_CASTS = {
    "uint8": "uint8",
    "int8": "int8",
    "uint16": "uint16",
    "int16": "int16",
    "uint32": "uint32",
    "int32": "int32",
    "int64": "int64",
    "float": "float32",
    "double": "float64",
    "byte": "uint8",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}


def _up(a: Any) -> Any:
    a = np.asarray(a)
    return a if a.dtype.kind == "f" else a.astype(np.int64)


def _whole(a: Any) -> Any:
    return np.asarray(a).astype(np.int64)


def _float(a: Any) -> Any:
    return np.asarray(a, np.float64)


def cast(values: Any, dtype: str) -> Any:
    """Values of another type; what is beyond its range becomes its limit, fractions are cut."""
    values = np.asarray(values)
    if np.dtype(dtype).kind == "f" or np.can_cast(values.dtype, dtype, "safe"):
        return values.astype(dtype)
    info = np.iinfo(dtype)
    finite = np.nan_to_num(_float(values), nan=0.0)
    clipped = np.clip(np.trunc(finite), float(info.min), float(info.max))
    return clipped.astype(dtype) if info.bits < 64 else np.trunc(finite).astype(dtype)


def _image_two(name: str, a: Args) -> Any:
    operation, dtype = _TWO[name]
    left, right = as_image(a["image1"]), as_image(a["image2"])
    made = combine(left, right, operation, dtype)
    if name in ("add", "subtract", "multiply", "divide"):
        return made
    return made.with_bands(made.bands, properties={})


def _image_one(name: str, a: Args) -> Any:
    operation, dtype = _ONE[name]
    return each(
        as_image(a["value"]), lambda values, valid, _: (operation(values), valid), lambda old: dtype or old
    )


def _image_cast(dtype: str, a: Args) -> Any:
    return each(as_image(a["value"]), lambda values, valid, _: (cast(values, dtype), valid), lambda _: dtype)


def _number(a: Args, name: str) -> float:
    value = a[name]
    return int(value) if isinstance(value, bool) else a.number(name)


def plain(value: Any) -> Any:
    """A Python number of a numpy one."""
    value = np.asarray(value).item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _number_two(name: str, a: Args) -> Any:
    with np.errstate(all="ignore"):
        value = _TWO[name][0](np.asarray(_number(a, "left")), np.asarray(_number(a, "right")))
    if not np.isfinite(value):
        raise RequestError(f"{a.function}: the result is not a number.")
    return plain(value)


def _number_one(name: str, a: Args) -> Any:
    with np.errstate(all="ignore"):
        value = _ONE[name][0](np.asarray(_number(a, "input")))
    if not np.isfinite(value):
        raise RequestError(f"{a.function}: the result is not a number.")
    return plain(value)


def _number_cast(dtype: str, a: Args) -> Any:
    return plain(cast(_number(a, "input"), dtype))


FUNCTIONS: dict[str, Function] = {
    **{f"Image.{name}": partial(_image_two, name) for name in _TWO},
    **{f"Number.{name}": partial(_number_two, name) for name in _TWO},
    **{f"Image.{name}": partial(_image_one, name) for name in _ONE},
    **{f"Number.{name}": partial(_number_one, name) for name in _ONE},
    **{f"Image.{name}": partial(_image_cast, dtype) for name, dtype in _CASTS.items()},
    **{f"Image.to{name.capitalize()}": partial(_image_cast, dtype) for name, dtype in _CASTS.items()},
    **{f"Number.{name}": partial(_number_cast, dtype) for name, dtype in _CASTS.items()},
    **{f"Number.to{name.capitalize()}": partial(_number_cast, dtype) for name, dtype in _CASTS.items()},
}
