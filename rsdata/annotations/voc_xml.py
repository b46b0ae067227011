"""PASCAL VOC's XML, a file an image: DIOR with its horizontal and its oriented boxes, and what labelImg writes."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from rsdata.annotations.found import Annotated, Found
from rsdata.annotations.rings import extent
from shards.targets import Box

_LARGEST = 16 << 20
_CORNERS = ("left_top", "right_top", "right_bottom", "left_bottom")


def read(paths: dict[str, Path]) -> Found:
    """One image for each file; a file that is broken or hostile is an image with an `error`.

    A horizontal box counts pixels from 1 and includes its last ones (VOC development kit); it comes out with outer
    edges, from 0. An oriented one has its four corners as the file has them, and their extent as its box.

    Args:
        paths: files by the name of their image.
    """
    found = Found()
    seen: dict[str, int] = {}
    for name, path in paths.items():
        try:
            found.images.append(_image(name, _tree(path), seen))
        except (OSError, ValueError) as error:
            found.images.append(Annotated(name, error=f"{path.name}: {error}"))
    found.classes = list(seen)
    return found


def _image(name: str, root: Element, seen: dict[str, int]) -> Annotated:
    size = root.find("size")
    if root.tag != "annotation" or size is None:
        raise ValueError(f"<{root.tag}> without <size> is no VOC annotation")
    boxes = []
    for item in root.iter("object"):
        label = seen.setdefault(_text(item, "name"), len(seen))
        difficult = (item.findtext("difficult") or "0").strip() not in ("", "0")
        boxes.append(_box(item, label, difficult))
    return Annotated(name, tuple(boxes), int(_number(size, "width")), int(_number(size, "height")))


def _box(item: Element, label: int, difficult: bool) -> Box:
    oriented = item.find("robndbox")
    if oriented is not None:
        ring = tuple((_number(oriented, f"x_{c}"), _number(oriented, f"y_{c}")) for c in _CORNERS)
        return Box(label, *extent([ring]), difficult=difficult, rings=(ring,))
    plain = item.find("bndbox")
    if plain is None:
        raise ValueError(f"object {label} has neither <bndbox> nor <robndbox>")
    left, top, right, bottom = (_number(plain, name) for name in ("xmin", "ymin", "xmax", "ymax"))
    return Box(label, left - 1, top - 1, right, bottom, difficult=difficult)


def _text(element: Element, name: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise ValueError(f"<{element.tag}> has no <{name}>")
    return text


def _number(element: Element, name: str) -> float:
    text = _text(element, name)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"<{name}> is {text[:40]!r}, not a number") from None


def _tree(path: Path) -> Element:
    """The tree of a file. A document type is refused: entities come with one, and with them bombs and other files."""
    data = path.read_bytes()
    if len(data) > _LARGEST:
        raise ValueError(f"{len(data):,} bytes are too many for one image")
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"broken XML ({error})") from None
    return builder.close()


def _refuse(*_: object) -> None:
    raise ValueError("declares a document type, which annotations have no use for; refused")
