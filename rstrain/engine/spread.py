"""How a method stands on several ranks: a copy on each (DDP), or a share of every weight on each (FSDP2)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
import torch.distributed.checkpoint.state_dict as whole
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from rstrain.distributed import World
from rstrain.methods.base import Method

_FULL = whole.StateDictOptions(full_state_dict=True, cpu_offload=True)


def cut(method: Method, world: World) -> None:
    """Leave each rank its share of weights, gradients and optimiser state, in place; call it before the optimiser is made.

    A block of a ViT or a ResNet is gathered while it works and let go after it, the rest of the method for a whole
    step. A momentum branch is cut as the branch that it follows, so it moves share by share. Buffers (queues, running
    statistics) stay whole on each rank.
    """
    from timm.models.vision_transformer import Block
    from torchvision.models.resnet import BasicBlock, Bottleneck

    mesh = init_device_mesh(world.device.type, (world.world,))
    for module in method.modules():
        if isinstance(module, (Block, BasicBlock, Bottleneck)):
            fully_shard(module, mesh=mesh)
    fully_shard(method, mesh=mesh)


def is_cut(method: nn.Module) -> bool:
    """Whether `cut` was called on it."""
    return isinstance(method, FSDPModule)


def joined(method: nn.Module, world: World) -> nn.Module:
    """What the loop calls: its backward leaves the mean gradient over ranks."""
    if world.world == 1 or is_cut(method):
        return method
    device = [world.device.index] if world.device.type == "cuda" else None
    with warnings.catch_warnings():  # the option's successor overwrites the buffers of ranks at the start
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(
            method, device_ids=device, broadcast_buffers=False, gradient_as_bucket_view=True
        )


def exchange(model: nn.Module, now: bool) -> AbstractContextManager[Any]:
    """Round forward and backward of a micro-batch: only the last one of a step exchanges gradients."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)
    elif isinstance(model, DistributedDataParallel) and not now:
        return model.no_sync()
    return nullcontext()


def gradient_norm(method: nn.Module) -> Tensor:
    """Of all gradients together, the same on each rank."""
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    norm: Tensor = torch.stack(torch._foreach_norm(gradients)).norm()
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


@contextmanager
def gathered(method: Method) -> Iterator[None]:
    """Inside, parts of the method can be called by themselves (its encoder, for a score)."""
    parts = [module for module in method.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()


def whole_state(method: Method, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """State of both, whole; every rank must call it. Where the method is cut, only rank 0 gets it."""
    if not is_cut(method):
        return method.state_dict(), optimizer.state_dict()
    return (
        whole.get_model_state_dict(method, options=_FULL),
        whole.get_optimizer_state_dict(method, optimizer, options=_FULL),
    )


def put_back(
    method: Method, optimizer: torch.optim.Optimizer, weights: dict[str, Any], moments: dict[str, Any]
) -> None:
    """The reverse of `whole_state`, from the same whole state on each rank.

    Raises:
        RuntimeError: it is the state of another model.
    """
    if not is_cut(method):
        method.load_state_dict(weights)
        optimizer.load_state_dict(moments)
        return
    whole.set_model_state_dict(method, weights, options=_FULL)
    whole.set_optimizer_state_dict(method, optimizer, moments, options=_FULL)


def whole_weights(method: Method, part: nn.Module) -> dict[str, Tensor]:
    """State of a part of the method under the part's own names; every rank must call it. Empty on ranks that have a share."""
    if not is_cut(method):
        return dict(part.state_dict())
    prefix = next(name for name, module in method.named_modules() if module is part) + "."
    state = cast("dict[str, Tensor]", whole.get_model_state_dict(method, options=_FULL))
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
