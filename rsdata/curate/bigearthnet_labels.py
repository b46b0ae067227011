"""The 43 classes of BigEarthNet (CORINE level 3) and the 19 that they fold into (Sumbul et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable

CLASSES_43: tuple[str, ...] = (
    "Agro-forestry areas",
    "Airports",
    "Annual crops associated with permanent crops",
    "Bare rock",
    "Beaches, dunes, sands",
    "Broad-leaved forest",
    "Burnt areas",
    "Coastal lagoons",
    "Complex cultivation patterns",
    "Coniferous forest",
    "Construction sites",
    "Continuous urban fabric",
    "Discontinuous urban fabric",
    "Dump sites",
    "Estuaries",
    "Fruit trees and berry plantations",
    "Green urban areas",
    "Industrial or commercial units",
    "Inland marshes",
    "Intertidal flats",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Mineral extraction sites",
    "Mixed forest",
    "Moors and heathland",
    "Natural grassland",
    "Non-irrigated arable land",
    "Olive groves",
    "Pastures",
    "Peatbogs",
    "Permanently irrigated land",
    "Port areas",
    "Rice fields",
    "Road and rail networks and associated land",
    "Salines",
    "Salt marshes",
    "Sclerophyllous vegetation",
    "Sea and ocean",
    "Sparsely vegetated areas",
    "Sport and leisure facilities",
    "Transitional woodland/shrub",
    "Vineyards",
    "Water bodies",
    "Water courses",
)
"""In alphabetical order, which is that of their numbers."""

_FOLDED: dict[str, tuple[str, ...]] = {
    "Urban fabric": ("Continuous urban fabric", "Discontinuous urban fabric"),
    "Industrial or commercial units": (),
    "Arable land": ("Non-irrigated arable land", "Permanently irrigated land", "Rice fields"),
    "Permanent crops": (
        "Vineyards",
        "Fruit trees and berry plantations",
        "Olive groves",
        "Annual crops associated with permanent crops",
    ),
    "Pastures": (),
    "Complex cultivation patterns": (),
    "Land principally occupied by agriculture, with significant areas of natural vegetation": (),
    "Agro-forestry areas": (),
    "Broad-leaved forest": (),
    "Coniferous forest": (),
    "Mixed forest": (),
    "Natural grassland and sparsely vegetated areas": ("Natural grassland", "Sparsely vegetated areas"),
    "Moors, heathland and sclerophyllous vegetation": ("Moors and heathland", "Sclerophyllous vegetation"),
    "Transitional woodland/shrub": (),
    "Beaches, dunes, sands": (),
    "Inland wetlands": ("Inland marshes", "Peatbogs"),
    "Coastal wetlands": ("Salt marshes", "Salines"),
    "Inland waters": ("Water bodies", "Water courses"),
    "Marine waters": ("Coastal lagoons", "Estuaries", "Sea and ocean"),
}
"""Of each of the 19 the ones that it holds; none: that of its own name."""

CLASSES_19: tuple[str, ...] = tuple(_FOLDED)
_NUMBER_19 = {old: number for number, (new, olds) in enumerate(_FOLDED.items()) for old in olds or (new,)}
_NUMBER_43 = {name: number for number, name in enumerate(CLASSES_43)}
_SPELT = {"Transitional woodland, shrub": "Transitional woodland/shrub"}


def numbers_43(labels: Iterable[str]) -> list[int]:
    """Numbers of the classes of a patch among the 43, ascending.

    Raises:
        KeyError: no such class.
    """
    return sorted({_NUMBER_43[_SPELT.get(label, label)] for label in labels})


def numbers_19(labels: Iterable[str]) -> list[int]:
    """The same among the 19; eleven of the 43 have no place there, so a patch may have none.

    Raises:
        KeyError: no such class.
    """
    names = (CLASSES_43[number] for number in numbers_43(labels))
    return sorted({_NUMBER_19[name] for name in names if name in _NUMBER_19})
