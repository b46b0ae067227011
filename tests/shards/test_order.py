from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.errors import ConfigError
from shards.order import Order
from shards.random import permute

shapes = st.builds(
    Order,
    n=st.integers(1, 700),
    seed=st.integers(0, 5),
    block=st.sampled_from([1, 2, 7, 64, 256]),
    window=st.sampled_from([1, 3, 64]),
)


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**40))
def test_a_permutation_is_a_bijection_and_inverse_undoes_it(size: int, seed: int) -> None:
    index = np.arange(size)
    there = permute(index, size, seed)
    assert np.array_equal(np.sort(there), index)
    assert np.array_equal(permute(there, size, seed, inverse=True), index)


def test_permutations_with_array_keys_are_those_of_each_key() -> None:
    index = np.arange(50)
    keys = index % 3
    together = permute(index, 50, 1, keys)
    for key in range(3):
        assert np.array_equal(together[keys == key], permute(index, 50, 1, key)[keys == key])


def test_a_huge_permutation_needs_no_table() -> None:
    size = 2**62 - 3
    some = np.array([0, 1, size - 1])
    assert np.array_equal(permute(permute(some, size, 7), size, 7, inverse=True), some)


@settings(deadline=None)
@given(order=shapes, epoch=st.integers(0, 3))
def test_every_sample_stands_once_in_every_epoch(order: Order, epoch: int) -> None:
    epochs, samples = order.at(epoch * order.n + np.arange(order.n))
    assert (epochs == epoch).all()
    assert np.array_equal(np.sort(samples), np.arange(order.n))


@pytest.mark.parametrize("n", [255, 256, 257, 512, 513, 256 * 64 - 1, 256 * 64, 256 * 64 + 1])
def test_block_and_window_borders_lose_nothing(n: int) -> None:
    _, samples = Order(n).at(np.arange(n))
    assert np.array_equal(np.sort(samples), np.arange(n))


def test_epochs_and_seeds_differ_and_asking_out_of_order_does_not_matter() -> None:
    order = Order(1000, seed=3)
    first, second = order.at(np.arange(1000))[1], order.at(np.arange(1000, 2000))[1]
    assert (first != second).mean() > 0.9
    assert (first != Order(1000, seed=4).at(np.arange(1000))[1]).mean() > 0.9
    some = np.array([1999, 3, 1000, 3])
    assert order.at(some)[1].tolist() == [second[999], first[3], second[0], first[3]]


def test_reads_keep_to_a_window_of_blocks() -> None:
    order = Order(100_000, block=100, window=4)
    _, samples = order.at(np.arange(400))
    assert len(np.unique(samples // 100)) <= 5


@given(step=st.integers(0, 50), share=st.integers(1, 8), seed=st.integers(0, 3))
def test_the_union_of_ranks_is_the_same_for_any_world(step: int, share: int, seed: int) -> None:
    batch, order = 4 * share, Order(37, seed=seed)
    whole = order.step(step, batch)
    for world in (1, 2, 4):
        parts = [order.step(step, batch, rank, world) for rank in range(world)]
        assert {len(part) for part in parts} == {batch // world}
        assert np.array_equal(np.concatenate(parts), whole)


def test_impossible_orders_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"batch=10 does not divide by 4 ranks: use a multiple of 4"):
        Order(10).step(0, 10, 0, 4)
    with pytest.raises(ConfigError, match="no samples"):
        Order(0)


def test_a_billion_samples_and_thousands_of_ranks_need_no_memory() -> None:
    """Any step of any rank, from nothing: equal shares, their union that of one rank, no sample twice."""
    order, batch, world = Order(10**9, seed=5), 16_384, 4096
    last = 10**9 // batch  # straddles the end of the epoch
    tracemalloc.start()
    for step in (0, 1, 30_517, last - 1, last, 10 * last):
        parts = [order.step(step, batch, rank, world) for rank in (0, 1, 2047, 4095)]
        whole = order.step(step, batch)
        assert [len(part) for part in parts] == [4] * 4
        assert np.array_equal(np.concatenate(parts), whole.reshape(world, 4)[[0, 1, 2047, 4095]].ravel())
        epoch, sample = order.at(whole)
        assert sample.min() >= 0 and sample.max() < order.n
        assert len(np.unique(np.stack([epoch, sample]), axis=1).T) == batch
        assert all(np.array_equal(order.at(part)[1], sample[part - whole[0]]) for part in parts)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20
    window = order.at(np.arange(7 * batch, 8 * batch))[1]  # a window of the order is whole blocks
    assert len(np.unique(window)) == batch and len(np.unique(window // order.block)) == order.window
