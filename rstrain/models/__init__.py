"""Backbones for any number of bands, and the heads that sit on them while they learn."""
