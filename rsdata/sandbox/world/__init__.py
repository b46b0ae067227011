"""A seeded, procedural Earth: any place, date, band and grid, with no file but a coastline."""

from rsdata.sandbox.world.grid import Grid, Ground
from rsdata.sandbox.world.planet import Overlay, Scene, World
from rsdata.sandbox.world.spectra import BANDS, COVER, Material

__all__ = ["BANDS", "COVER", "Grid", "Ground", "Material", "Overlay", "Scene", "World"]
