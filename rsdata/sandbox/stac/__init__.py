"""A STAC API and the host of its files over the scenes of the embedded planet, for `pystac-client` and `rasterio`."""
