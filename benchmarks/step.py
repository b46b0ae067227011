"""Samples a second of one training step: our MoCo-v2 and VICReg against lightly's modules in a plain loop, interleaved.

    python benchmarks/step.py [--arch resnet18] [--size 64] [--batch 64] [--steps 3] [--rounds 5] [--device cpu] [--precision fp32]

Prints one JSON object. Both sides take the same two views of noise on the device, the same backbone, head sizes, queue and
SGD. Ours is the whole step of the training loop: finite checks, schedule, shuffle-BN and logs included. lightly's is its
documented example; on a GPU it may use channels last as ours does.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from builders import build_set, pattern
from rstrain import distributed
from rstrain.config import config_for
from rstrain.engine.clock import Clock
from rstrain.engine.train import Run

QUEUE = 4096


def ours(
    kind: str, given: argparse.Namespace, data: Path, out: Path
) -> tuple[Callable[[], Any], list[Tensor]]:
    """A step, and the views that it takes."""
    method = {"queue": QUEUE} if kind == "moco" else {"expander": "2048-2048-2048"}
    config = config_for(kind).build(
        data=str(data),
        arch=given.arch,
        batch=given.batch,
        device=given.device,
        precision=given.precision,
        workers=0,
        method=method,
        optim={"optimizer": "sgd", "lr": 1e-6, "weight_decay": 1e-4},
        augment={"size": given.size},
    )
    run = Run(config, out, distributed.init(given.device))
    host = next(iter(run.batches(0, 1)))
    parts = run.parts(host)
    parts[0].views = tuple(torch.randn_like(view) for view in parts[0].views)

    def step() -> None:
        run.step = 0
        run.learn(run.method, parts, host, Clock(1e9))

    return step, list(parts[0].views)


def lightly_moco(
    backbone: nn.Module, features: int, views: list[Tensor], precision: str
) -> Callable[[], Any]:
    """Lightly's MoCo v2 example."""
    from lightly.loss import NTXentLoss
    from lightly.models.modules import MoCoProjectionHead
    from lightly.models.utils import (
        batch_shuffle,
        batch_unshuffle,
        deactivate_requires_grad,
        update_momentum,
    )

    head = MoCoProjectionHead(features, features, 128).to(views[0].device)
    key_backbone, key_head = copy.deepcopy(backbone), copy.deepcopy(head)
    deactivate_requires_grad(key_backbone)
    deactivate_requires_grad(key_head)
    loss = NTXentLoss(temperature=0.07, memory_bank_size=(QUEUE, 128)).to(views[0].device)
    weights = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(weights, lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        update_momentum(backbone, key_backbone, 0.99)
        update_momentum(head, key_head, 0.99)
        with torch.autocast(views[0].device.type, torch.bfloat16, enabled=precision == "bf16"):
            query = head(backbone(views[0]).flatten(1))
            with torch.no_grad():
                keys, shuffle = batch_shuffle(views[1])
                keys = batch_unshuffle(key_head(key_backbone(keys).flatten(1)), shuffle)
            value = loss(query, keys)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def lightly_vicreg(
    backbone: nn.Module, features: int, views: list[Tensor], precision: str
) -> Callable[[], Any]:
    """Lightly's VICReg example."""
    from lightly.loss import VICRegLoss
    from lightly.models.modules.heads import VICRegProjectionHead

    head = VICRegProjectionHead(features, 2048, 2048, num_layers=3).to(views[0].device)
    loss = VICRegLoss()
    weights = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(weights, lr=1e-6, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        with torch.autocast(views[0].device.type, torch.bfloat16, enabled=precision == "bf16"):
            a, b = (head(backbone(view).flatten(1)) for view in views)
            value = loss(a, b)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def plain_backbone(given: argparse.Namespace) -> tuple[nn.Module, int]:
    net = getattr(torchvision.models, given.arch)()
    features: int = net.fc.in_features
    net.fc = nn.Identity()
    return net.to(given.device, memory_format=torch.channels_last), features


def timed(step: Callable[[], Any], given: argparse.Namespace) -> float:
    """Samples a second."""
    start = time.perf_counter()
    for _ in range(given.steps):
        step()
    if given.device == "cuda":
        torch.cuda.synchronize()
    return float(given.steps * given.batch / (time.perf_counter() - start))


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--arch", default="resnet18")
    options.add_argument("--size", type=int, default=64)
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--steps", type=int, default=3)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    options.add_argument("--threads", type=int, default=1)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    result: dict[str, Any] = dict(vars(given).items())
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "set"
        build_set(data, [pattern(i, 64, 64) for i in range(max(given.batch, 64))])
        for kind, theirs in (("moco", lightly_moco), ("vicreg", lightly_vicreg)):
            step, views = ours(kind, given, data, Path(folder))
            net, features = plain_backbone(given)
            other = theirs(net, features, views, given.precision)
            rates: dict[str, list[float]] = {"ours": [], "lightly": []}
            for run in (step, other):  # kernels are chosen, optimisers make their state
                timed(run, given)
            for _ in range(given.rounds):
                rates["ours"].append(timed(step, given))
                rates["lightly"].append(timed(other, given))
            ratio = statistics.median(a / b for a, b in zip(rates["ours"], rates["lightly"], strict=True))
            result[kind] = {
                "samples_per_s": {name: round(statistics.median(v), 1) for name, v in rates.items()},
                "ours_over_lightly": round(ratio, 3),
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
