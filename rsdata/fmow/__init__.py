"""Functional Map of the World: its files and names, its metadata, its ground truth, its bucket."""
