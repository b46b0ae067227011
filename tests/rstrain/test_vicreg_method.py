from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from rstrain import distributed
from rstrain.config import config_for
from rstrain.losses.vicreg import vicreg_terms
from rstrain.methods import RunFacts, VICRegConfig
from rstrain.methods.base import Batch
from rstrain.methods.vicreg import VICReg
from rstrain.models.backbone import Backbone
from rstrain.models.init import seeded
from rstrain.optim.config import OptimConfig
from rstrain.optim.lars import LARS
from rstrain.optim.optimizers import build_optimizer, set_lr
from shards.errors import ConfigError

STEPS, BATCH, WORLD, SIDE = 3, 8, 2, 12


def views(step: int) -> tuple[Tensor, ...]:
    """Two noisy copies of each image."""
    generator = torch.Generator().manual_seed(step)
    image = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
    noise = torch.randn(2, BATCH, 3, SIDE, SIDE, generator=generator)
    return tuple((image + 0.2 * noise).double())


def small_vicreg(**options: object) -> VICReg:
    with seeded(1):
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
    config = VICRegConfig.build(expander="16-16-24", **options)
    backbone = Backbone(net, features=8, arch="small")
    return config.create(backbone, RunFacts(seed=1, batch=BATCH)).double()  # so that orders of sums agree


def train(rank: int, world: int) -> dict[str, Tensor]:
    """Three steps of one rank by LARS; the state, and losses and gradients of each step."""
    method = small_vicreg()
    module: nn.Module = method
    if world > 1:
        module = nn.parallel.DistributedDataParallel(method, broadcast_buffers=False)
    optimizer = build_optimizer(OptimConfig(optimizer="lars", lr=1.0), method)
    got: dict[str, Tensor] = {}
    part = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    for step in range(STEPS):
        own = tuple(view[part] for view in views(step))
        out = module(Batch(own, torch.arange(len(own[0])), step))
        optimizer.zero_grad()
        out.loss.backward()
        got[f"loss.{step}"] = distributed.mean(out.loss)
        got |= {f"{name}.{step}": distributed.mean(out.logs[name]) for name in out.logs if "loss" in name}
        got |= {f"grad.{step}.{n}": p.grad.clone() for n, p in method.named_parameters()}
        optimizer.step()
    return got | {f"state.{name}": value for name, value in method.state_dict().items()}


def joined(rank: int, out: str) -> None:
    torch.set_num_threads(1)
    env = {"RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_RANK": str(rank)}
    distributed.init("cpu", env=env, init_method=f"file://{out}/rendezvous")
    torch.save(train(rank, WORLD), f"{out}/{rank}.pt")
    distributed.barrier()
    distributed.shutdown()
    distributed.leave()


@pytest.mark.slow
def test_two_ranks_are_one_process_on_the_joined_batch(tmp_path: Path) -> None:
    """Batch norms of both the encoder and the expander included: `sync_bn` is on."""
    mp.spawn(joined, args=(str(tmp_path),), nprocs=WORLD)
    alone = train(0, 1)
    for rank in range(WORLD):
        got = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert got.keys() == alone.keys()
        for key, expected in alone.items():
            torch.testing.assert_close(
                got[key], expected, atol=1e-7, rtol=1e-7, msg=lambda m, key=key: f"{key}: {m}"
            )


def waves(rows: int, dim: int) -> tuple[Tensor, Tensor]:
    at = torch.arange(rows * dim, dtype=torch.float64).reshape(rows, dim)
    return at.sin(), at.cos()


def test_terms_of_waves() -> None:
    terms = vicreg_terms(*waves(8, 4))
    got = [float(t) for t in (terms.invariance, terms.variance, terms.covariance)]
    assert got == pytest.approx([1.0082740946, 0.2450789610, 0.7251178079], abs=1e-9)


@pytest.mark.parametrize(("rows", "dim"), [(8, 4), (6, 6), (5, 40)])
def test_covariance_is_that_of_torch(rows: int, dim: int) -> None:
    x, y = waves(rows, dim)
    off = ~torch.eye(dim, dtype=torch.bool)
    expected = sum(z.T.cov()[off].square().sum() / dim for z in (x, y))
    assert float(vicreg_terms(x, y).covariance) == pytest.approx(float(expected), rel=1e-10)
    whole = float(vicreg_terms(x, y, rows=rows + 1).covariance)
    assert whole == pytest.approx(float(expected) * ((rows - 1) / rows) ** 2, rel=1e-10)


def test_paper_sums_where_the_code_takes_means() -> None:
    batch = Batch(views(0), torch.arange(BATCH), 0)
    coefficients = {"sim_coeff": 3.0, "std_coeff": 5.0, "cov_coeff": 7.0}
    repo, paper = (small_vicreg(preset=p, **coefficients)(batch) for p in ("repo", "paper"))
    invariance, variance, covariance = (
        float(repo.logs[f"loss_{n}"]) for n in ("invariance", "variance", "covariance")
    )
    assert repo.loss.item() == pytest.approx(3 * invariance + 5 * variance + 7 * covariance)
    assert paper.loss.item() == pytest.approx(3 * 24 * invariance + 5 * 2 * variance + 7 * covariance)


def test_large_embeddings_stay_finite_under_autocast() -> None:
    method = small_vicreg().float()
    with torch.no_grad():
        method.expander[-1].weight.mul_(1e4)
    with torch.autocast("cpu", torch.float16):
        out = method(Batch(tuple(v.float() for v in views(0)), torch.arange(BATCH), 0))
    out.loss.backward()
    assert out.loss.dtype == torch.float32
    assert float(out.logs["loss_covariance"]) > 65504, "beyond float16"
    assert torch.isfinite(out.loss)


def test_loss_falls_without_collapse() -> None:
    method = small_vicreg()
    optimizer = build_optimizer(OptimConfig(optimizer="lars", lr=1.0), method)
    losses = []
    for _ in range(60):
        out = method(Batch(views(0), torch.arange(BATCH), 0))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert float(out.logs["embedding_std"]) > 0.3


def test_lars_by_hand() -> None:
    p = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    bias = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = LARS([p, bias], lr=1.0, weight_decay=0.0)
    p.grad, bias.grad = p.detach() / 5, torch.tensor([0.5], dtype=torch.float64)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([[2.997, 3.996]], dtype=torch.float64))
    assert bias.item() == 0.5, "one dimension: no trust ratio"


def test_lars_goes_on_after_a_checkpoint() -> None:
    def parameters() -> list[nn.Parameter]:
        with seeded(3):
            return [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(4))]

    def steps(owned: list[nn.Parameter], optimizer: LARS, numbers: range) -> None:
        for number in numbers:
            for p in owned:
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
            optimizer.step()

    whole = parameters()
    steps(whole, LARS(whole, lr=0.5, weight_decay=0.1), range(6))
    first = parameters()
    optimizer = LARS(first, lr=0.5, weight_decay=0.1)
    steps(first, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"weights": [p.detach() for p in first], "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = [nn.Parameter(weight) for weight in saved["weights"]]
    optimizer = LARS(second, lr=9.0)
    optimizer.load_state_dict(saved["optimizer"])
    steps(second, optimizer, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))


def test_published_rates() -> None:
    vicreg = OptimConfig(lr=0.3, scale_lr="batch256", warmup_epochs=10, min_lr_share=0.001)
    got = [vicreg.lr_at(step / 67, 100, batch=256) for step in (335, 670, 3685, 6699)]
    assert got == pytest.approx([0.15, 0.3, 0.15015, 0.0003], abs=1e-6)
    scale_mae = OptimConfig(lr=1.5e-4, scale_lr="batch256", warmup_epochs=20)
    got = [scale_mae.lr_at(epoch, 800, batch=256) for epoch in (0, 10, 20, 100, 410, 800)]
    assert got == pytest.approx([0, 7.5e-5, 1.5e-4, 1.46140e-4, 7.5e-5, 0], rel=1e-5)


def test_scaling_is_told_and_restarts_repeat() -> None:
    config = OptimConfig(lr=0.3, scale_lr="batch256", schedule="constant")
    assert config.peak(2048) == config.lr_at(1, 10, batch=2048) == pytest.approx(2.4)
    assert config.scaling(2048) == "peak learning rate 2.4 = lr 0.3 * batch 2048 / 256"
    assert OptimConfig().scaling(2048) is None
    with pytest.raises(ConfigError, match=r"peak of 0.01 .* below min_lr=0.02"):
        OptimConfig(lr=0.32, min_lr=0.02, scale_lr="batch256").lr_at(0, 1, batch=8)
    restarts = OptimConfig(lr=1.0, schedule="cosine_restarts", periods=(2, 4), restart_weights=(1, 0.5))
    got = [restarts.lr_at(epoch, 12) for epoch in range(12)]
    assert got[:3] == pytest.approx([1.0, 0.5, 0.5]) and got[2:6] == got[6:10]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VICRegConfig.build(expander="8192-0"), "expected widths above 0 joined by dashes"),
        (lambda: VICRegConfig.build(expander="8192,64"), "expander: '8192,64': expected widths"),
        (lambda: OptimConfig.build(min_lr=0.01, min_lr_share=0.1), "both say where the cosine ends"),
        (lambda: OptimConfig.build(periods=(20, 0)), "expected whole epochs"),
        (
            lambda: VICRegConfig().create(Backbone(nn.Identity(), features=4, arch="x"), RunFacts()),
            "batch=1: vicreg takes the variance",
        ),
        (
            lambda: small_vicreg()(Batch(tuple(v[:1] for v in views(0)), torch.arange(1), 0)),
            "got a part of 1 sample",
        ),
        (lambda: small_vicreg()(Batch(views(0)[:1], torch.arange(BATCH), 0)), "compares two views"),
    ],
)
def test_mistakes_are_named(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_defaults_are_the_published_run() -> None:
    config = config_for("vicreg").build("run", data="x")
    assert (config.epochs, config.optim.optimizer, config.optim.peak(config.batch)) == (100, "lars", 0.3)
    assert config.augment.chances("blur") == (1.0, 0.1)
    assert config.augment.chances("solarize") == (0.0, 0.2)
    temporal = config_for("vicreg").build("run", data="x", method={"kind": "vicreg", "pairs": "temporal"})
    assert temporal.method.pairing == "temporal"


def test_layer_decay_slows_the_groups_near_the_image() -> None:
    module = nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(2, 2)]), "head": nn.Linear(2, 2)})
    optimizer = build_optimizer(OptimConfig(optimizer="adamw", layer_decay=0.5), module)
    set_lr(optimizer, 0.1)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.1, 1e-4),
        (0.1, 0.0),
        (0.05, 1e-4),
        (0.05, 0.0),
    ]
    with pytest.raises(ConfigError, match="blocks"):
        build_optimizer(OptimConfig(layer_decay=0.5), nn.Linear(2, 2))
