"""What the values of a mask file mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_IGNORE = 255  # shards.targets.IGNORE; this module is read for options, and needs no numpy for it


@dataclass(frozen=True)
class Values:
    """What the values of a mask file mean: value or colour -> class."""

    table: dict[int, int]
    """A colour is red << 16 | green << 8 | blue."""
    colours: bool = False
    rest: int | None = None
    """Class of every other value; None: there must be none."""

    @classmethod
    def parse(cls, text: str) -> Values:
        """`0:ignore,1:0,2:1`, `#ff0000:1,*:0`; empty: values are classes, and 255 is ignored.

        Raises:
            ValueError: it is not of that form.
        """
        table: dict[int, int] = {}
        rest, hexes = None, 0
        for part in filter(None, (part.strip() for part in text.split(","))):
            left, colon, right = part.partition(":")
            if not colon or not (right == "ignore" or (right.isdecimal() and int(right) < _IGNORE)):
                raise ValueError(f"{part!r} is not VALUE:CLASS, such as 1:0, 0:ignore, #ff0000:2 or *:0")
            meant = _IGNORE if right == "ignore" else int(right)
            if left == "*":
                rest = meant
                continue
            try:
                value = int(left[1:], 16) if left.startswith("#") and len(left) == 7 else int(left)
            except ValueError:
                raise ValueError(
                    f"{left!r} in {part!r} is no value of a mask: a number, #rrggbb or *"
                ) from None
            hexes += left.startswith("#")
            if value in table:
                raise ValueError(f"{left} has two meanings")
            table[value] = meant
        if hexes not in (0, len(table)):
            raise ValueError("either all values are colours or none is")
        return cls(table, bool(hexes), rest)

    def classes_of(self, values: NDArray[Any], classes: int) -> NDArray[np.uint8]:
        """Classes [H, W] of the values of a mask.

        Raises:
            ValueError: a value without a meaning, or a class beyond the list.
        """
        import numpy as np

        seen = np.unique(values)
        plain = not self.table and self.rest is None
        meaning = {v: v for v in seen.tolist()} if plain else self.table
        unknown = [v for v in seen.tolist() if v not in meaning and self.rest is None]
        if unknown:
            shown = ", ".join(f"#{v:06x}" if self.colours else str(v) for v in unknown[:3])
            raise ValueError(f"the mask has the value {shown}, which --values does not name")
        new = [meaning.get(v, self.rest) for v in seen.tolist()]
        beyond = [v for v in new if v is not None and v != _IGNORE and not 0 <= v < classes]
        if beyond:
            raise ValueError(f"the mask has class {beyond[0]}, and there are {classes} (--classes, --values)")
        return np.asarray(np.array(new, np.uint8)[np.searchsorted(seen, values)])
