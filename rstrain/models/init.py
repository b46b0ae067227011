"""Initial weights as a function of a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws on the CPU from `seed`; outside, its generator goes on as if nothing had been drawn.

    Build modules on the CPU within it and move them afterwards: the same seed then gives the same weights everywhere.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
