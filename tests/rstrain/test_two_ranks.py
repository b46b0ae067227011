"""Two real gloo processes against one process on the joined batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from rstrain import distributed
from rstrain.methods import MoCoConfig, RunFacts
from rstrain.methods.base import Batch
from rstrain.models.backbone import Backbone
from rstrain.models.init import seeded
from shards.errors import ConfigError

STEPS, BATCH, WORLD, SIDE = 3, 8, 2, 12
CASES: dict[str, dict[str, Any]] = {
    "geo": {"kind": "moco-geo-tp", "queue": 20},  # 8 does not divide 20: the pointer wraps
    "plain": {"kind": "moco", "queue": 32, "shuffle": False},
    "accumulated": {"kind": "moco", "queue": 24, "micro": 2},
}


def data(step: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(step)
    query, key = torch.randn(2, BATCH, 3, SIDE, SIDE, generator=generator)
    return (query, key), torch.randint(0, 5, (BATCH,), generator=generator)


def small_backbone() -> Backbone:
    def block(width_in: int, width: int) -> list[nn.Module]:
        return [nn.Conv2d(width_in, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]

    with seeded(1):
        net = nn.Sequential(*block(3, 8), *block(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(net, features=16, arch="small")


def train(name: str, rank: int, world: int, splits: int) -> dict[str, Tensor]:
    """Three steps of one rank; the state, and losses and gradients of each step."""
    torch.set_num_threads(1)
    options = dict(CASES[name])
    micro = options.pop("micro", 1)
    config = MoCoConfig(dim=16, bn_splits=splits, temperature=0.1, **options)
    facts = RunFacts(seed=1, batch=BATCH, geo_classes=5 if config.geo else None)
    # float64 below, so that sums in another order agree to the bounds asked for
    method = config.create(small_backbone(), facts).double()
    module: nn.Module = method
    if world > 1:
        module = nn.parallel.DistributedDataParallel(method, broadcast_buffers=False)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    got: dict[str, Tensor] = {}
    share = BATCH // world
    for step in range(STEPS):
        views, geo = data(step)
        method.before_step()
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        size = share // micro
        for m in range(micro):
            part = slice(rank * share + m * size, rank * share + (m + 1) * size)
            batch = Batch(tuple(v[part].double() for v in views), torch.arange(size), step, geo=geo[part])
            out = module(batch)
            (out.loss / micro).backward()
            total += out.loss.detach() / micro
        optimizer.step()
        method.after_step()
        got[f"loss.{step}"] = distributed.mean(total)
        got |= {
            f"grad.{step}.{n}": p.grad.clone() for n, p in method.named_parameters() if p.grad is not None
        }
        got[f"queue.{step}"] = method.queue.clone()
    distributed.average_batch_norms(method)
    return got | {f"state.{k}": v for k, v in method.state_dict().items()}


def joined(rank: int, out: str) -> None:
    torch.set_num_threads(1)
    env = {
        "RANK": str(rank),
        "WORLD_SIZE": str(WORLD),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(WORLD),
    }
    world = distributed.init("cpu", env=env, init_method=f"file://{out}/rendezvous")
    assert (world.rank, world.world, world.is_main) == (rank, WORLD, rank == 0)
    for name in CASES:
        torch.save(train(name, rank, WORLD, 1), f"{out}/{name}.{rank}.pt")
    torch.save(gathering(rank), f"{out}/gather.{rank}.pt")
    distributed.barrier()
    distributed.shutdown()
    distributed.leave()


def gathering(rank: int) -> dict[str, Tensor]:
    z = full_batch()[rank * 3 : rank * 3 + 3].clone().requires_grad_()
    whole = distributed.gather_with_gradient(z)
    pairwise(whole).backward()
    image = torch.arange(2 * 2 * 3 * 3.0).reshape(2, 2, 3, 3) + 100 * rank
    last = distributed.gather(image.to(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, distributed.gather(image))
    assert z.grad is not None
    return {"joined": whole.detach(), "grad": z.grad / WORLD, "images": last}


def full_batch() -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def pairwise(z: Tensor) -> Tensor:
    """A loss in which every row meets every other."""
    return (z @ z.T).tanh().sum() + (z.mean(dim=0) ** 2).sum()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    mp.spawn(joined, args=(str(out),), nprocs=WORLD)
    return out


def load(folder: Path, name: str, rank: int) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / f"{name}.{rank}.pt", weights_only=True)
    return state


@pytest.mark.slow
@pytest.mark.parametrize("name", ["geo", "plain"])
def test_two_ranks_are_one_process_with_two_splits(name: str, ranks: Path) -> None:
    alone = train(name, 0, 1, WORLD)
    for rank in range(WORLD):
        got = load(ranks, name, rank)
        assert got.keys() == alone.keys()
        for key, expected in alone.items():
            torch.testing.assert_close(
                got[key], expected, atol=1e-6, rtol=1e-6, msg=lambda m, key=key: f"{key}: {m}"
            )


@pytest.mark.slow
def test_ranks_agree_when_gradients_are_accumulated(ranks: Path) -> None:
    first, second = (load(ranks, "accumulated", rank) for rank in range(WORLD))
    for key, value in first.items():
        assert torch.equal(value, second[key]), key
    assert int(first["state.queue_ptr"]) == STEPS * BATCH % 24


@pytest.mark.slow
def test_gather_has_the_gradient_of_one_process(ranks: Path) -> None:
    whole = full_batch().requires_grad_()
    pairwise(whole).backward()
    assert whole.grad is not None
    for rank in range(WORLD):
        got = load(ranks, "gather", rank)
        assert torch.equal(got["joined"], whole.detach())
        # DDP averages over ranks, so each rank's part is W times what one process has
        torch.testing.assert_close(got["grad"], whole.grad[rank * 3 : rank * 3 + 3])


def test_one_process_needs_no_group() -> None:
    with distributed.session("cpu", env={}) as world:
        assert not torch.distributed.is_initialized()
    assert (world.rank, world.world, world.local_rank, world.device.type) == (0, 1, 0, "cpu")
    x = torch.ones(2, requires_grad=True)
    assert distributed.gather_with_gradient(x) is x
    assert distributed.world_size() == 1 and distributed.is_main()
    distributed.barrier()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"RANK": "0"}, "WORLD_SIZE is not set"),
        ({"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK='x' is not a whole number"),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK=2 does not fit WORLD_SIZE=2"),
    ],
)
def test_a_broken_launch_is_named(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        distributed.init("cpu", env=env)


def test_cuda_must_be_there_and_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="sees no GPU"):
        distributed.init("cuda", env={})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    env = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}
    for choice in ("cuda", "auto"):
        with pytest.raises(ConfigError, match="4 ranks on this host but 1 GPU: start at most 1"):
            distributed.init(choice, env=env)
