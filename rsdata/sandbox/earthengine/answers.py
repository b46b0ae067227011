"""Values as the JSON that the service answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely

from rsdata.sandbox.earthengine.collection import LIMIT, Collection
from rsdata.sandbox.earthengine.image import Image
from rsdata.sandbox.earthengine.values import Date, DateRange, Feature, PixelType, Projection, RequestError


def answer(value: Any) -> Any:
    """A value as plain JSON.

    Raises:
        RequestError: it has no form in JSON (a function, a filter), or is too large.
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            if value != value or abs(value) == float("inf"):
                raise RequestError("The result is not a finite number.")
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case np.generic():
            return answer(value.item())
        case Image():
            return _image(value)
        case Feature():
            return _feature(value)
        case Collection():
            return _collection(value)
        case Date():
            return {"type": "Date", "value": value.ms}
        case DateRange():
            return {"type": "DateRange", "dates": [value.start, value.end]}
        case Projection():
            return {"type": "Projection", "crs": value.crs, "transform": list(value.transform)}
        case PixelType():
            return {"type": "PixelType", "precision": value.precision}
        case shapely.Geometry():
            return _geometry(value)
        case Mapping():
            return {str(key): answer(each) for key, each in value.items()}
        case list() | tuple():
            if value and all(type(each) is int for each in value):
                return value
            return [answer(each) for each in value]
    raise RequestError(f"The result is a {type(value).__name__}, which cannot be sent.")


def _geometry(value: shapely.Geometry) -> dict[str, Any]:
    made: dict[str, Any] = shapely.geometry.mapping(value)
    return made


def _image(value: Image) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "Image", "bands": [band.info(name) for name, band in value.bands.items()]}
    if value.id:
        out |= {"id": value.id, "version": 1}
    if value.properties:
        out["properties"] = answer(dict(value.properties))
    return out


def _feature(value: Feature) -> dict[str, Any]:
    out: dict[str, Any] = {
        "type": "Feature",
        "geometry": None if value.geometry is None else _geometry(value.geometry),
        "properties": answer(value.properties),
    }
    if value.id is not None:
        out["id"] = value.id
    return out


def _collection(value: Collection) -> dict[str, Any]:
    elements = value.elements
    if len(elements) > LIMIT:
        raise RequestError(f"Collection query aborted after accumulating over {LIMIT} elements.")
    features = [answer(each) for each in elements]
    if value.images and all(isinstance(each, Image) for each in elements):
        out: dict[str, Any] = {"type": "ImageCollection", "bands": [], "features": features}
        if value.id:
            out["id"] = value.id
        return out
    return {"type": "FeatureCollection", "columns": {}, "features": features}
