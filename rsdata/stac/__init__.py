"""Scenes of any STAC API, and windows of their cloud-optimised GeoTIFFs."""
