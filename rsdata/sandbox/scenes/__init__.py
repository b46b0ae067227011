"""Satellites over the embedded planet: the scenes of a catalogue and their pixels."""

from rsdata.sandbox.scenes.pixels import pixels, stack
from rsdata.sandbox.scenes.products import COLLECTIONS, HARMONISED_FROM, PRODUCTS, Band, Orbit, Product
from rsdata.sandbox.scenes.scene import Scene, scene_by_id, scenes_at, scenes_over

__all__ = [
    "COLLECTIONS",
    "HARMONISED_FROM",
    "PRODUCTS",
    "Band",
    "Orbit",
    "Product",
    "Scene",
    "pixels",
    "scene_by_id",
    "scenes_at",
    "scenes_over",
    "stack",
]
