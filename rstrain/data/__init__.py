"""Shards to batches: order and content of every batch are a pure function of (config, seed, step)."""
