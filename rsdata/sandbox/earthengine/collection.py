"""Collections: a catalogue asked as late as possible, or a list of elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import shapely

from rsdata.sandbox.earthengine.catalog import image_named, images_over, kind_of
from rsdata.sandbox.earthengine.image import Image
from rsdata.sandbox.earthengine.values import Feature, Filter, RequestError

LIMIT = 5000
Element = Any
"""Image or Feature."""


@dataclass(frozen=True)
class Step:
    """One thing done to each element: a filter, or a function."""

    filter: Filter | None = None
    function: Callable[[Element], Element] | None = None


class Collection:
    """Elements in order; those of a catalogue are looked up when the first is needed."""

    def __init__(
        self,
        elements: list[Element] | None = None,
        *,
        id: str | None = None,
        seed: int = 0,
        steps: tuple[Step, ...] = (),
        images: bool = True,
    ) -> None:
        self._given = elements
        self.id = id
        self._seed = seed
        self._steps = steps
        self.images = images
        """Whether it describes itself as an ImageCollection."""

    @classmethod
    def load(cls, id: str, seed: int) -> Collection:
        """All images of a catalogue.

        Raises:
            RequestError: there is no such collection.
        """
        kind_of(id)
        return cls(id=id, seed=seed)

    def with_step(self, step: Step) -> Collection:
        """Also filtered, or mapped."""
        return Collection(
            self._given, id=self.id, seed=self._seed, steps=(*self._steps, step), images=self.images
        )

    def of(self, elements: list[Element]) -> Collection:
        """Other elements under the same name."""
        return Collection(elements, id=self.id, images=self.images)

    @cached_property
    def elements(self) -> list[Element]:
        """All of them.

        Raises:
            RequestError: too many, or the catalogue was asked for the whole Earth.
        """
        found = self._given if self._given is not None else self._look_up()
        return [element for element in (self._through(element) for element in found) if element is not None]

    def __iter__(self) -> Iterator[Element]:
        return iter(self.elements)

    def _through(self, element: Element) -> Element | None:
        for step in self._steps:
            if step.filter is not None:
                if not step.filter.test(element, None):
                    return None
            elif step.function is not None:
                element = step.function(element)
                if element is None:
                    return None
                if isinstance(element, Feature) and element.id is None:
                    element.id = element.properties.get("system:index")
        return element

    def _look_up(self) -> list[Image]:
        assert self.id is not None
        filters = [step.filter for step in self._steps if step.filter is not None]
        for each in filters:
            if each.equal and each.equal[0] == "system:index":
                image = image_named(f"{self.id}/{each.equal[1]}", self._seed)
                return [] if image is None else [image]
        regions = [each.region for each in filters if each.region is not None]
        if not regions:
            raise RequestError(
                f"Collection query aborted after accumulating over {LIMIT} elements. "
                "(This server needs a filterBounds.)"
            )
        span = (max(each.span[0] for each in filters), min(each.span[1] for each in filters))
        region = min(regions, key=lambda each: each.area)
        if shapely.box(*region.bounds).area > 400:
            raise RequestError(f"Collection query aborted after accumulating over {LIMIT} elements.")
        found = images_over(self.id, region, span, self._seed)
        if len(found) > LIMIT:
            raise RequestError(f"Collection query aborted after accumulating over {LIMIT} elements.")
        return found
