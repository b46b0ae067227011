"""Reading: which bands of a view are wanted, and what their stored numbers become."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """The bands of a view in the order wanted, as levels: 0 … 255, where 8-bit pixels are levels as they are."""

    bands: tuple[str, ...]
    """Names, as dataset.json has them."""
    low: tuple[float, ...] = ()
    """Stored number of each band that becomes level 0; empty: the stored pixels are 8-bit levels."""
    high: tuple[float, ...] = ()
    """Stored number of each band that becomes level 255."""
    whole: bool = False
    """Cut off at 0 and 255 and rounded down to 8 bits; else float32, neither cut off nor rounded."""

    def __post_init__(self) -> None:
        assert len(self.low) == len(self.high) and len(self.low) in (0, len(self.bands))
