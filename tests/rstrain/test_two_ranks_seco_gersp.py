"""SeCo and GeRSP on two real gloo processes against one process on the joined batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from rstrain import distributed
from rstrain.methods import GeRSPConfig, RunFacts, SeCoConfig
from rstrain.methods.base import Batch
from rstrain.methods.momentum import MomentumMethod
from rstrain.models.backbone import Backbone
from rstrain.models.init import seeded

STEPS, BATCH, WORLD, SIDE = 3, 8, 2, 12
CASES: dict[str, Any] = {  # 8 does not divide 20: the pointer wraps
    "seco": SeCoConfig(dim=16, queue=20, batch_negatives="all"),
    "seco-local": SeCoConfig(dim=16, queue=20, shuffle=False),
    "gersp": GeRSPConfig(dim=16, queue=20),
    "gersp-paper": GeRSPConfig(dim=16, queue=20, preset="paper", encoder_momentum=0.9),
}


def data(step: int) -> tuple[Tensor, Tensor]:
    """Five images and a class for each sample."""
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(5, BATCH, 3, SIDE, SIDE, generator=generator).double()
    return images, torch.randint(0, 5, (BATCH,), generator=generator)


def batch_of(method: MomentumMethod, step: int, part: slice) -> Batch:
    images, label = data(step)
    images, label = images[:, part], label[part]
    rows = torch.arange(len(label))
    if hasattr(method, "classifier"):
        second = Batch((images[4],), rows, step, label=label)
        return Batch((images[0], images[1]), rows, step, second=second)
    return Batch(tuple(images[:4]), rows, step)


def small_backbone() -> Backbone:
    def block(width_in: int, width: int) -> list[nn.Module]:
        return [nn.Conv2d(width_in, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]

    with seeded(1):
        net = nn.Sequential(*block(3, 8), *block(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(net, features=16, arch="small")


def train(name: str, rank: int, world: int, *, splits: int = 1, micro: int = 1) -> dict[str, Tensor]:
    """Three steps of one rank; the state, and losses and gradients of each step."""
    torch.set_num_threads(1)
    config = CASES[name].model_copy(update={"bn_splits": splits})
    facts = RunFacts(seed=1, batch=BATCH, second_classes=5)
    # float64, so that sums in another order agree to the bounds asked for
    method: MomentumMethod = config.create(small_backbone(), facts).double()
    module: nn.Module = method
    if world > 1:
        module = nn.parallel.DistributedDataParallel(method, broadcast_buffers=False)
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    got: dict[str, Tensor] = {}
    share = BATCH // world
    size = share // micro
    for step in range(STEPS):
        method.before_step()
        optimizer.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for m in range(micro):
            start = rank * share + m * size
            loss = module(batch_of(method, step, slice(start, start + size))).loss / micro
            loss.backward()
            total += loss.detach()
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
    distributed.init("cpu", env=env, init_method=f"file://{out}/rendezvous")
    for name in CASES:
        torch.save(train(name, rank, WORLD), f"{out}/{name}.{rank}.pt")
    distributed.barrier()
    distributed.shutdown()
    distributed.leave()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    mp.spawn(joined, args=(str(out),), nprocs=WORLD)
    return out


def compare(ranks: Path, name: str, alone: dict[str, Tensor]) -> None:
    for rank in range(WORLD):
        got: dict[str, Tensor] = torch.load(ranks / f"{name}.{rank}.pt", weights_only=True)
        assert alone.keys() <= got.keys()
        assert any(key.startswith("grad.") for key in alone)
        for key, expected in alone.items():
            torch.testing.assert_close(
                got[key], expected, atol=1e-6, rtol=1e-6, msg=lambda m, key=key: f"{key}: {m}"
            )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seco", "gersp", "gersp-paper"])
def test_two_ranks_are_one_process_with_two_splits(name: str, ranks: Path) -> None:
    compare(ranks, name, train(name, 0, 1, splits=WORLD))


@pytest.mark.slow
def test_ranks_with_negatives_of_their_own_are_micro_batches(ranks: Path) -> None:
    """Two parts of a batch one after the other; only running statistics, which do not act on training, differ."""
    alone = train("seco-local", 0, 1, micro=WORLD)
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    compare(ranks, "seco-local", {k: v for k, v in alone.items() if not k.endswith(statistics)})
