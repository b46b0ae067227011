"""xView's one GeoJSON of a million boxes (Lam et al. 2018, xviewdataset.org): pixel corners and type ids."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec

from rsdata.annotations.found import Annotated, Found
from shards.errors import ConfigError
from shards.targets import Box

TYPES: dict[int, str] = {
    11: "Fixed-wing Aircraft", 12: "Small Aircraft", 13: "Cargo Plane", 15: "Helicopter", 17: "Passenger Vehicle",
    18: "Small Car", 19: "Bus", 20: "Pickup Truck", 21: "Utility Truck", 23: "Truck", 24: "Cargo Truck",
    25: "Truck w/Box", 26: "Truck Tractor", 27: "Trailer", 28: "Truck w/Flatbed", 29: "Truck w/Liquid",
    32: "Crane Truck", 33: "Railway Vehicle", 34: "Passenger Car", 35: "Cargo Car", 36: "Flat Car", 37: "Tank car",
    38: "Locomotive", 40: "Maritime Vessel", 41: "Motorboat", 42: "Sailboat", 44: "Tugboat", 45: "Barge",
    47: "Fishing Vessel", 49: "Ferry", 50: "Yacht", 51: "Container Ship", 52: "Oil Tanker",
    53: "Engineering Vehicle", 54: "Tower crane", 55: "Container Crane", 56: "Reach Stacker", 57: "Straddle Carrier",
    59: "Mobile Crane", 60: "Dump Truck", 61: "Haul Truck", 62: "Scraper/Tractor", 63: "Front loader/Bulldozer",
    64: "Excavator", 65: "Cement Mixer", 66: "Ground Grader", 71: "Hut/Tent", 72: "Shed", 73: "Building",
    74: "Aircraft Hangar", 76: "Damaged Building", 77: "Facility", 79: "Construction Site", 83: "Vehicle Lot",
    84: "Helipad", 86: "Storage Tank", 89: "Shipping container lot", 91: "Shipping Container", 93: "Pylon",
    94: "Tower",
}  # fmt: skip
"""The 60 classes of the challenge by type id; 75 and 82 occur in the file and are none of them."""


class _Properties(msgspec.Struct):
    image_id: str
    type_id: int
    bounds_imcoords: str


class _Feature(msgspec.Struct):
    properties: _Properties


class _File(msgspec.Struct):
    features: list[_Feature]


def read(path: Path) -> Found:
    """All images that the file names; the classes are the 60 in the order of their ids.

    Raises:
        ConfigError: the file cannot be read, or is not of that form.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: is not the GeoJSON of xView ({error})") from None
    found = Found(classes=list(TYPES.values()))
    label = {type_id: place for place, type_id in enumerate(TYPES)}
    boxes: dict[str, list[Box]] = {}
    notes: dict[str, Counter[str]] = {}
    for feature in file.features:
        facts = feature.properties
        image = boxes.setdefault(facts.image_id, [])
        noted = notes.setdefault(facts.image_id, Counter())
        if facts.type_id not in label:
            noted[f"boxes dropped: type {facts.type_id} is none of the 60 classes"] += 1
            continue
        try:
            left, top, right, bottom = (float(part) for part in facts.bounds_imcoords.split(","))
        except ValueError:
            noted["boxes dropped: bounds_imcoords are not four numbers"] += 1
            continue
        image.append(Box(label[facts.type_id], left, top, right, bottom))
    found.images = [Annotated(name, tuple(items), notes=notes[name]) for name, items in boxes.items()]
    return found
