"""The REST methods of Earth Engine that the client calls."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from typing import Any

from rsdata.sandbox.earthengine import discovery, files
from rsdata.sandbox.earthengine.answers import answer
from rsdata.sandbox.earthengine.catalog import image_named
from rsdata.sandbox.earthengine.expressions import Expression
from rsdata.sandbox.earthengine.functions import functions
from rsdata.sandbox.earthengine.functions.images import select
from rsdata.sandbox.earthengine.functions.plain import projection_of
from rsdata.sandbox.earthengine.image import Image, Target, box_in
from rsdata.sandbox.earthengine.values import RequestError
from rsdata.sandbox.scenes import COLLECTIONS
from rsdata.sandbox.serve import Request, Response
from shards.errors import ConfigError

PIXELS_LIMIT = 50_331_648
DOWNLOAD_LIMIT = 33_554_432
_KEPT = 256
_ASSET = re.compile(r"/v1(?:alpha|beta)?/projects/[^/]+/assets/(.+?)(:getPixels)?$")
_METHOD = re.compile(r"/v1(?:alpha|beta)?/projects/[^/]+/(.+)$")
_UNSOUND = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, ZeroDivisionError, OverflowError, RecursionError,
    ConfigError,
)  # fmt: skip
"""What a request of the wrong types comes to in the end: 400, as the service answers, never 500."""


class Service:
    """Answers requests; keeps nothing but the last thumbnails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thumbnails: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def describe(self, request: Request) -> Response:
        """GET /$discovery/rest."""
        return Response(body=discovery.discovery())

    def answer(self, request: Request) -> Response:
        """Everything under /v1/."""
        try:
            return self._answer(request)
        except RequestError as error:
            return Response.error(400, str(error))
        except _UNSOUND as error:
            said = str(error).splitlines()
            return Response.error(400, f"Invalid request: {type(error).__name__}: {said[0] if said else ''}")

    def _answer(self, request: Request) -> Response:
        asset = _ASSET.match(request.path)
        if asset:
            return self._asset(request, asset[1], pixels=asset[2] is not None)
        method = _METHOD.match(request.path)
        match (request.method, method[1] if method else ""):
            case ("GET", "algorithms"):
                return Response(body=discovery.algorithms())
            case ("POST", "value:compute"):
                return Response.of({"result": answer(self._value(request))})
            case ("POST", "image:computePixels"):
                body = self._body(request)
                return self._pixels(self._image(request), body)
            case ("POST", "thumbnails" | "tables" as kind):
                if kind == "tables":
                    return Response.error(404, "tables are not served.", "NOT_FOUND")
                return self._make_thumbnail(request)
            case ("GET", name) if name.startswith("thumbnails/") and name.endswith(":getPixels"):
                return self._thumbnail(request, name[len("thumbnails/") : -len(":getPixels")])
        return Response.error(404, f"{request.method} {request.path} is not served.", "NOT_FOUND")

    def _body(self, request: Request) -> dict[str, Any]:
        try:
            body = request.json()
        except ValueError:
            raise RequestError("Invalid JSON payload received.") from None
        if not isinstance(body, dict):
            raise RequestError("Invalid JSON payload received. Expected an object.")
        return body

    def _value(self, request: Request) -> Any:
        expression, result = Expression.of(self._body(request).get("expression"), functions(request.seed))
        return expression.key(result, {})

    def _image(self, request: Request) -> Image:
        value = self._value(request)
        if not isinstance(value, Image):
            raise RequestError(f"Expected type: Image. Actual type: {type(value).__name__}.")
        return value

    def _pixels(self, image: Image, body: dict[str, Any]) -> Response:
        names = body.get("bandIds")
        if names:
            missing = [name for name in names if name not in image.bands]
            if missing:
                raise RequestError(
                    f"Band '{missing[0]}' does not exist. Available bands: [{', '.join(image.bands)}]"
                )
            image = image.with_bands({name: image.bands[name] for name in names})
        target = _target(image, body.get("grid") or {})
        files.check_size(image, target, PIXELS_LIMIT)
        data, kind = files.encode(image, target, body.get("fileFormat", "AUTO_JPEG_PNG"))
        return Response(body=data, content_type=kind)

    def _asset(self, request: Request, name: str, *, pixels: bool) -> Response:
        name = name.removeprefix("public/")
        if name in COLLECTIONS and not pixels:
            full = f"projects/earthengine-public/assets/{name}"
            return Response.of({"type": "IMAGE_COLLECTION", "name": full, "id": name})
        image = image_named(name, request.seed)
        if image is None:
            return Response.error(404, f"Asset '{name}' not found.", "NOT_FOUND")
        if pixels:
            return self._pixels(image, self._body(request))
        described = answer(image)
        full = f"projects/earthengine-public/assets/{name}"
        return Response.of({"type": "IMAGE", "name": full, "id": name, "properties": described["properties"]})

    def _make_thumbnail(self, request: Request) -> Response:
        body = self._body(request)
        self._image(request)  # what is wrong with the expression is said now
        name = hashlib.sha256(request.body).hexdigest()[:32]
        with self._lock:
            self._thumbnails[name] = {"request": request, "body": body}
            while len(self._thumbnails) > _KEPT:
                self._thumbnails.popitem(last=False)
        project = request.path.split("/projects/")[1].split("/")[0]
        return Response.of({"name": f"projects/{project}/thumbnails/{name}"})

    def _thumbnail(self, request: Request, name: str) -> Response:
        with self._lock:
            kept = self._thumbnails.get(name)
        if kept is None:
            return Response.error(404, f"Thumbnail '{name}' not found.", "NOT_FOUND")
        body = kept["body"]
        image = self._image(kept["request"])
        if body.get("bandIds"):
            image = select(image, body["bandIds"])
        wanted = body.get("fileFormat", "AUTO_JPEG_PNG")
        prefix = body.get("filenamePrefix") or "download"
        if wanted == "ZIPPED_GEO_TIFF_PER_BAND" and image.target is None:
            # Each band on its own grid.
            parts: dict[str, bytes] = {}
            for band in image.bands:
                one = select(image, [re.escape(band)])
                target = _own_target(one)
                files.check_size(one, target, DOWNLOAD_LIMIT, 10_000)
                parts[f"{prefix}.{band}.tif"] = files.encode(one, target, "GEO_TIFF")[0]
            return Response(body=files.zipped(parts), content_type="application/zip")
        target = image.target or _own_target(image)
        files.check_size(image, target, DOWNLOAD_LIMIT, 10_000)
        data, kind = files.encode(image, target, wanted, prefix)
        return Response(body=data, content_type=kind)


def _own_target(image: Image) -> Target:
    """The image's own grid within its footprint."""
    if image.geometry is None:
        raise RequestError("Unable to export unbounded image.")
    return box_in(image.projection, image.geometry)


def _target(image: Image, grid: dict[str, Any]) -> Target:
    """The grid of a request; what it does not say is the image's own."""
    if not grid:
        if image.target:
            return image.target
        size = image.first.size
        if size is None:
            return _own_target(image)
        projection = image.first.projection or image.projection
        return Target(projection.crs, projection.transform, *size)
    transform = image.projection.transform
    affine = grid.get("affineTransform")
    if affine is not None:
        names = ("scaleX", "shearX", "translateX", "shearY", "scaleY", "translateY")
        a, b, c, d, e, f = (float(affine.get(name, 0)) for name in names)
        if not a or not e:
            raise RequestError("Invalid affine transform: scaleX and scaleY must not be 0.")
        transform = (a, b, c, d, e, f)
    projection = projection_of(grid.get("crsCode") or image.projection.crs, transform)
    dimensions = grid.get("dimensions") or {}
    width, height = int(dimensions.get("width", 0)), int(dimensions.get("height", 0))
    return Target(projection.crs, projection.transform, width, height)
