"""A worker process: takes orders on stdin, answers on stdout, a JSON object a line; dies with its parent.

Orders: `{"out": …, "task": k, "skip": {position: reason}}`, and `careful` as in `run_task`; `marked` writes each position
to the folder before its item is touched, so that it is known even if nobody on this host survives. Answers: `{"at": position}`, `{"done": k}`,
`{"fault": message}` for what the user can mend, `{"bug": traceback}` for what we must.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

from shards.errors import UserError

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until stdin ends."""
    channel = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    _die_with_parent(int(sys.argv[2]))
    if sys.argv[3]:
        from rsdata.engines.quota import share_over

        share_over(sys.argv[3])
    module, name = sys.argv[1].split(":")
    orders: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()

    def answer(**values: Any) -> None:
        try:
            os.write(channel, json.dumps(values).encode() + b"\n")
        except BrokenPipeError:
            os._exit(1)

    run = getattr(importlib.import_module(module), name)
    while True:
        order = json.loads(orders.get())
        skip = {int(position): reason for position, reason in order["skip"].items()}
        try:
            careful = {"careful": True} if order.get("careful") else {}
            at = partial(_at, answer, order)
            run(order["out"], order["task"], skip=skip, at=at, **careful)
            answer(done=order["task"])
        except UserError as error:
            answer(fault=str(error))
        except Exception:
            answer(bug=traceback.format_exc())


def _at(answer: Callable[..., None], order: dict[str, Any], position: int) -> None:
    if order.get("marked"):
        from rsdata.task import mark_name
        from shards.store import Store

        Store(order["out"]).write(mark_name(order["task"]), str(position).encode())
    answer(at=position)


def _listen(orders: queue.SimpleQueue[bytes]) -> None:
    """Pass orders on; leave at once when the parent closes the pipe, in the middle of a task too."""
    for line in sys.stdin.buffer:
        orders.put(line)
    os._exit(0)


def _die_with_parent(parent: int) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere the closed pipe has to do
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main()
