"""Ranks: start from torchrun's environment, gather with and without gradient. Everything works with one process too."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shards.errors import ConfigError

DeviceChoice = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class World:
    """Where this process stands among those that train together."""

    rank: int
    world: int
    """Number of ranks."""
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes files and talks."""
        return self.rank == 0


def init(
    device: DeviceChoice = "auto", *, env: Mapping[str, str] | None = None, init_method: str = "env://"
) -> World:
    """Read torchrun's variables and, when there are any, join the process group (nccl on cuda, gloo on cpu).

    Args:
        device: `auto` takes the GPU when there is one.
        env: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE; the environment of the process when left out.
        init_method: how ranks find each other; `file:///path` serves where no port is wanted.

    Raises:
        ConfigError: a variable is missing or no number, cuda is asked for and absent, or a host has more ranks than GPUs.
    """
    values = os.environ if env is None else env
    grouped = "RANK" in values or "WORLD_SIZE" in values
    rank, world, local_rank = (
        (_number(values, n) for n in ("RANK", "WORLD_SIZE", "LOCAL_RANK")) if grouped else (0, 1, 0)
    )
    if not (0 <= rank < world):
        raise ConfigError(f"RANK={rank} does not fit WORLD_SIZE={world}: start with torchrun, or unset both")
    here = _number(values, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in values else max(local_rank + 1, 1)
    place = _device(device, local_rank, here)
    if grouped and not dist.is_initialized():
        if place.type == "cuda":
            torch.cuda.set_device(place)
            dist.init_process_group(
                "nccl", init_method=init_method, rank=rank, world_size=world, device_id=place
            )
        else:
            dist.init_process_group("gloo", init_method=init_method, rank=rank, world_size=world)
    return World(rank, world, local_rank, place)


def _number(env: Mapping[str, str], name: str) -> int:
    try:
        return int(env[name])
    except KeyError:
        raise ConfigError(
            f"{name} is not set although RANK or WORLD_SIZE is: start with torchrun, or unset them"
        ) from None
    except ValueError:
        raise ConfigError(
            f"{name}={env[name]!r} is not a whole number: start with torchrun, or unset it"
        ) from None


def _device(choice: DeviceChoice, local_rank: int, ranks_here: int) -> torch.device:
    gpus = torch.cuda.device_count() if choice != "cpu" else 0
    if choice == "cpu" or (choice == "auto" and gpus == 0):
        return torch.device("cpu")
    if gpus == 0:
        raise ConfigError(
            "--device cuda: torch sees no GPU here; use --device cpu, or check the driver with nvidia-smi"
        )
    if ranks_here > gpus:
        raise ConfigError(
            f"{ranks_here} ranks on this host but {gpus} GPU{'s' if gpus > 1 else ''}: start at most {gpus} with "
            f"--nproc-per-node {gpus}, or use --device cpu"
        )
    return torch.device("cuda", local_rank)


def shutdown() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def leave(code: int = 0) -> NoReturn:
    """End this process of several ranks, after what Python has to tidy up, without the teardown of C++.

    DistributedDataParallel keeps its process group alive for ever. At an ordinary exit the group's threads meet the
    destruction of what they use, and now and then a rank is aborted ("terminate called without an active exception")
    though all its work is done, which makes torchrun call the whole run failed.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def session(device: DeviceChoice = "auto", *, env: Mapping[str, str] | None = None) -> Iterator[World]:
    """`init` for the length of a block; inside another session it is that one.

    A process can meet the others only once (torchrun's store keeps the addresses of the first time), so open one
    session round several calls.
    """
    outermost = not dist.is_initialized()
    world = init(device, env=env)
    try:
        yield world
    finally:
        if outermost:
            shutdown()


def rank() -> int:
    """Number of this process, 0 without a process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main() -> bool:
    """Whether this rank writes files and talks."""
    return rank() == 0


def barrier() -> None:
    """Wait for all ranks."""
    if world_size() > 1:
        dist.barrier()


@torch.no_grad()
def gather(x: Tensor) -> Tensor:
    """[N, ...] of each rank -> [W * N, ...] in the order of ranks, without gradient; shapes must be equal.

    The memory format (channels last) is kept.
    """
    if world_size() == 1:
        return x.detach()
    last = x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    own = x.permute(0, 2, 3, 1) if last else x.contiguous()
    joined = own.new_empty((world_size() * own.shape[0], *own.shape[1:]))
    dist.all_gather_into_tensor(joined, own)
    return joined.permute(0, 3, 1, 2) if last else joined


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return gather(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]


def gather_with_gradient(x: Tensor) -> Tensor:
    """As `gather`; backward gives each rank the sum over all ranks of the gradients of its own part.

    With the averaging of DDP, a loss of the joined batch then has the gradient that one process would compute. Putting
    the own slice back into a plain `all_gather` keeps the loss and spoils the gradient.
    """
    if world_size() == 1:
        return x
    joined: Tensor = _Gather.apply(x)
    return joined


@torch.no_grad()
def mean(x: Tensor) -> Tensor:
    """Mean over ranks, without gradient."""
    total = x.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
        total /= world_size()
    return total


@torch.no_grad()
def average_batch_norms(module: nn.Module) -> None:
    """Replace running means and variances by their mean over ranks, in place; call it before evaluating or saving.

    They move by each rank's own batches and do not act on training, so this is exact: it gives the statistics of one
    process that splits the joined batch as the ranks did.
    """
    if world_size() == 1:
        return
    for m in module.modules():
        if isinstance(m, _BatchNorm) and m.running_mean is not None and m.running_var is not None:
            m.running_mean.copy_(mean(m.running_mean))
            m.running_var.copy_(mean(m.running_var))
