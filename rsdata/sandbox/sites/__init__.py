"""Places with a function, by fMoW's class names: each a drawing in metres, with random pose, size and regional style."""

from rsdata.sandbox.sites.site import FUNCTIONS, Site

__all__ = ["FUNCTIONS", "Site"]
