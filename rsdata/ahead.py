"""Work done ahead by threads, answered in order: what is made of the answers does not depend on the threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_AHEAD = 2
"""Answers a thread, begun or waiting, that are held at the most: one slow item does not idle the others at once."""


@contextmanager
def in_order(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[Iterator[R]]:
    """`work` of each item, in the order of the items; at the end of the block nothing is under work any more.

    What `work` raises is raised in its turn; items that were not begun are dropped, and those under work waited for.
    One thread is no thread: each item is worked on when its answer is asked for.
    """
    if threads <= 1:
        yield map(work, items)
        return
    with closing(_threaded(work, items, threads)) as answers:
        yield answers


def _threaded(work: Callable[[T], R], items: Iterable[T], threads: int) -> Generator[R, None, None]:
    pool = ThreadPoolExecutor(threads, "fetch")
    begun: deque[Future[R]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) >= _AHEAD * threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
