"""What MoCo, SeCo and GeRSP share: a key branch that follows the query branch, shuffle-BN, and queues of keys."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rstrain import distributed
from rstrain.losses.precision import full_precision
from rstrain.methods.base import Method, RunFacts
from rstrain.methods.momentum_config import MomentumConfig
from rstrain.models.backbone import Backbone
from rstrain.models.split_norm import has_batch_norm, split_batch_norms
from shards import random
from shards.errors import ConfigError

_QUEUE = random.stream("moco/queue")
_HEADS = random.stream("moco/heads")
_SHUFFLE = random.stream("moco/shuffle")

KeyOrder = Callable[[int, int, int], Tensor]
"""(step, key batch of the step, size) -> int64 [size]: which sample of the joined batch stands at each place; equal on
all ranks."""


class Branch(nn.Module):
    """Backbone and projection head."""

    def __init__(self, backbone: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] -> projection [B, D], not normalised."""
        z: Tensor = self.head(self.backbone(images))
        return z


def head_seed(facts: RunFacts) -> int:
    """Seed of everything that is built on top of the backbone."""
    return int(random.address(_HEADS, facts.seed)) >> 1


class MomentumMethod(Method):
    """A query branch that learns, its momentum copy that makes the keys, and a queue of earlier keys.

    The batch need not divide the queue (the pointer wraps round), and keys enter the queue after the optimiser step
    instead of before the loss is taken; the logits are the same.

    Args:
        config: options.
        facts: seed of the run.
        query: images [B, C, H, W] -> projections [B, D] or [B, S, D]; the key branch starts as its copy.
        spaces: S queues, each with a pointer of its own; left out: one queue [D, K].
        key_order: order of shuffle-BN; by default a permutation keyed by (seed, step, key batch), which every rank
            computes for itself.
    """

    queue: Tensor
    """[D, K] or [S, D, K], unit columns."""
    queue_ptr: Tensor
    """int64 [1] or [S, 1]: the column that the next key takes."""

    def __init__(
        self,
        config: MomentumConfig,
        facts: RunFacts,
        query: nn.Module,
        *,
        spaces: int | None = None,
        key_order: KeyOrder | None = None,
    ) -> None:
        super().__init__()
        self.facts = facts
        self._shared = config
        self._key_order = key_order or self._permutation
        self._pending: list[Tensor] = []  # keys of this step, [W, B, ...] a micro-batch
        split_batch_norms(query, config.bn_splits)
        self.query = query
        self.key = copy.deepcopy(query).requires_grad_(False)
        self._mixes = has_batch_norm(query)
        some = () if spaces is None else (spaces,)
        noise = random.generator(_QUEUE, facts.seed).standard_normal(
            (*some, config.dim, config.queue), np.float32
        )
        self.register_buffer("queue", F.normalize(torch.from_numpy(noise), dim=-2))
        self.register_buffer("queue_ptr", torch.zeros(*some, 1, dtype=torch.int64))

    @property
    def encoder(self) -> nn.Module:
        """The query backbone, without its projection head."""
        backbone = self.query.backbone
        assert isinstance(backbone, nn.Module)
        return backbone

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile both branches; gathering and the queue stay as they are."""
        self.query.compile(*args, **kwargs)
        self.key.compile(*args, **kwargs)

    def followers(self) -> list[tuple[nn.Module, nn.Module]]:
        """Each part of the key branch that moves, with the part of the query branch that it follows."""
        return [(self.key, self.query)]

    @torch.no_grad()
    def before_step(self) -> None:
        """Move the key branch's parameters (not its batch-norm buffers) towards the query's."""
        self._pending.clear()
        for key, query in self.followers():
            keys: list[Tensor] = list(key.parameters())
            queries: list[Tensor] = list(query.parameters())
            torch._foreach_lerp_(keys, queries, 1.0 - self._shared.encoder_momentum)

    @torch.no_grad()
    def after_step(self) -> None:
        """Write the keys of the step over the oldest ones, in the order one process would have them."""
        if not self._pending:
            return
        keys = torch.stack(self._pending, dim=1).flatten(0, 2)  # [W, micro-batch, B, ...] -> [n, ...]
        self._pending.clear()
        if self.queue.dim() == 2:
            _enqueue(self.queue, self.queue_ptr, keys)
            return
        for queue, pointer, own in zip(self.queue, self.queue_ptr, keys.unbind(1), strict=True):
            _enqueue(queue, pointer, own)

    @torch.no_grad()
    def encode_keys(self, images: Tensor, step: int, number: int) -> Tensor:
        """Images of this rank [B, C, H, W] -> unit keys of all ranks [W * B, ...], in the order of ranks.

        `number` counts the key batches of the step: shuffle-BN (He et al. 2020, section 3.3) gives each its own order.
        """
        world, rank, own = distributed.world_size(), distributed.rank(), len(images)
        if self._shared.shuffle and self._mixes and world * self._shared.bn_splits > 1:
            order = self._key_order(step, number, world * own).to(images.device)
            here = order[rank * own : (rank + 1) * own]
            shuffled = distributed.gather(self._project_keys(distributed.gather(images)[here]))
            joined = torch.empty_like(shuffled)
            joined[order] = shuffled
            return joined
        return distributed.gather(self._project_keys(images))

    def keep(self, joined: Tensor) -> None:
        """Let the keys of a micro-batch, [W * B, ...] of all ranks, wait for `after_step`."""
        world = distributed.world_size()
        self._pending.append(joined.view(world, len(joined) // world, *joined.shape[1:]))

    def check_batch(self, local: int) -> None:
        """Refuse a micro-batch that batch-norm splits or the queue cannot take, before anything moves.

        Raises:
            ConfigError: says the numbers.
        """
        self.check_splits(local)
        size = self.queue.shape[-1]
        keys = (len(self._pending) + 1) * local * distributed.world_size()
        if keys > size:
            raise ConfigError(
                f"a step makes {keys} keys but queue={size}: use a smaller batch or a longer queue"
            )

    def check_splits(self, local: int) -> None:
        """Refuse a micro-batch that does not divide by `bn_splits`.

        Raises:
            ConfigError: says the numbers.
        """
        splits = self._shared.bn_splits
        if local % splits:
            raise ConfigError(
                f"a batch of {local} samples a rank does not divide by bn_splits={splits}: use a multiple of {splits}"
            )

    def _project_keys(self, images: Tensor) -> Tensor:
        return F.normalize(full_precision(self.key(images)), dim=-1)

    def _permutation(self, step: int, number: int, size: int) -> Tensor:
        places = np.arange(size, dtype=np.int64)
        return torch.from_numpy(random.permute(places, size, _SHUFFLE, self.facts.seed, step, number))


def own_part(joined: Tensor, local: int) -> Tensor:
    """What this rank gave to a gathered [W * B, ...], B = `local`."""
    start = distributed.rank() * local
    return joined[start : start + local]


def _enqueue(queue: Tensor, pointer: Tensor, keys: Tensor) -> None:
    """Keys [n, D] over the oldest columns of a queue [D, K], in place."""
    size = queue.shape[1]
    places = (pointer + torch.arange(len(keys), device=keys.device)) % size
    queue.index_copy_(1, places, keys.T.to(queue.dtype))
    pointer.add_(len(keys)).remainder_(size)
