from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shards.random import address, choice, generator, stream, uniform


def test_numbers_never_change() -> None:
    """The same on every machine and in every release: a run is resumed with these."""
    assert int(address(1, 2, 3)) == 3592312200069816221
    assert stream("partner") == 4662284256227237823
    assert np.allclose(uniform(0, 7, count=2), [0.8817683854400817, 0.15670020427616682], rtol=0, atol=1e-16)


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=4))
def test_arrays_and_scalars_agree(parts: list[int]) -> None:
    column = np.array([parts, parts[::-1]])
    together = address(*column.T)
    assert together[0] == address(*parts)
    assert together[1] == address(*parts[::-1])


def test_uniform_is_uniform_and_addresses_do_not_echo_each_other() -> None:
    u = uniform(5, np.arange(20_000), count=2)
    assert abs(u.mean() - 0.5) < 0.01
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(np.corrcoef(u[:, 0], u[:, 1])[0, 1]) < 0.02
    assert abs(np.corrcoef(u[1:, 0], u[:-1, 0])[0, 1]) < 0.02
    assert len(np.unique(address(np.arange(300)[:, None], np.arange(300)))) == 90_000


def test_choice_stays_below_its_size() -> None:
    sizes = np.array([1, 2, 3, 1000] * 500)
    picked = choice(sizes, 1, np.arange(2000))
    assert (picked >= 0).all()
    assert (picked < sizes).all()
    assert set(picked[sizes == 3]) == {0, 1, 2}


def test_generators_at_an_address_repeat() -> None:
    assert generator(1, 2).random() == generator(1, 2).random() != generator(1, 3).random()
