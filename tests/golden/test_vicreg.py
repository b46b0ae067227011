"""Replay of golden/vicreg: loss, LARS and steps of VICReg, recorded from facebookresearch/vicreg; all but the rates."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import Tensor, nn

from recorded import Arrays, TinyNet, arrays, close, tensor
from rstrain import distributed
from rstrain.losses.vicreg import vicreg_terms
from rstrain.methods import RunFacts, VICRegConfig
from rstrain.methods.base import Batch
from rstrain.methods.vicreg import VICReg
from rstrain.models.backbone import Backbone
from rstrain.optim.config import OptimConfig
from rstrain.optim.lars import LARS
from rstrain.optim.optimizers import build_optimizer, set_lr

torch.set_num_threads(1)


def coefficients(values: Arrays) -> dict[str, float]:
    return {f"{name}_coeff": float(values[f"hp_{name}_coeff"]) for name in ("sim", "std", "cov")}


def linear_vicreg(weight: Tensor, values: Arrays) -> VICReg:
    """Embeddings are the images times a matrix [D, F]."""
    dim, features = weight.shape
    config = VICRegConfig(expander=str(dim), **coefficients(values))
    backbone = Backbone(nn.Identity(), features=features, arch="identity")
    method = VICReg(config, backbone, RunFacts(), int(values["hp_batch_size"]))
    with torch.no_grad():
        method.expander[0].weight.copy_(weight)
    return method


@pytest.mark.family("vicreg/loss")
def test_loss(case: Path) -> None:
    values = arrays(case)
    x, y = (tensor(values[name]).requires_grad_() for name in ("in_x", "in_y"))
    method = linear_vicreg(torch.eye(x.shape[1]), values)
    out = method(Batch((x, y), torch.arange(len(x)), 0))
    out.loss.backward()
    close(out.loss, values["out_loss"], 1e-5)
    for name in ("invariance", "variance", "covariance"):
        close(out.logs[f"loss_{name}"], values[f"out_{name}"], 1e-5)
    close(x.grad, values["out_grad_x"], 5e-6)
    close(y.grad, values["out_grad_y"], 5e-6)


@pytest.mark.family("vicreg/loss")
def test_covariance_by_either_product(case: Path) -> None:
    values = arrays(case)
    x, y = (tensor(values[name]).double() for name in ("in_x", "in_y"))
    rows = int(values["hp_batch_size"])
    unused = torch.zeros(len(x), 4 * len(x), dtype=torch.float64)  # dimensions that never vary add nothing
    wide = vicreg_terms(torch.cat((x, unused), 1), torch.cat((y, unused), 1), rows=rows).covariance
    close(wide * (x.shape[1] + unused.shape[1]) / x.shape[1], values["out_covariance"], 1e-5)


@pytest.mark.slow
@pytest.mark.family("vicreg/loss_two_ranks")
def test_loss_two_ranks(case: Path, tmp_path: Path) -> None:
    values = arrays(case)
    ranks = len(values["in_x"])
    mp.spawn(rank_loss, args=(ranks, str(case), str(tmp_path)), nprocs=ranks)
    for rank in range(ranks):
        got = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        close(got["loss"], values["out_loss_per_rank"][rank], 2e-5)
        close(got["x"], values["out_grad_x"][rank], 1e-5)
        close(got["y"], values["out_grad_y"][rank], 1e-5)
        close(got["weight"], values["out_grad_weight"], 1e-5)


def rank_loss(rank: int, ranks: int, case: str, out: str) -> None:
    torch.set_num_threads(1)
    env = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
    distributed.init("cpu", env=env, init_method=f"file://{out}/rendezvous")
    values = arrays(Path(case))
    method = linear_vicreg(tensor(values["in_weight"]), values)
    ddp = nn.parallel.DistributedDataParallel(method, broadcast_buffers=False)
    x, y = (tensor(values[name][rank]).requires_grad_() for name in ("in_x", "in_y"))
    step = ddp(Batch((x, y), torch.arange(len(x)), 0))
    step.loss.backward()
    got = {"loss": step.loss.detach(), "x": x.grad, "y": y.grad, "weight": method.expander[0].weight.grad}
    torch.save(got, f"{out}/{rank}.pt")
    distributed.shutdown()
    distributed.leave()


@pytest.mark.family("vicreg/lars")
def test_lars(case: Path) -> None:
    values = arrays(case)
    parameters = [nn.Parameter(tensor(values[f"in_param_{i}"])) for i in range(int(values["hp_tensors"]))]
    optimizer = LARS(
        parameters,
        lr=1.0,
        momentum=float(values["hp_momentum"]),
        weight_decay=float(values["hp_weight_decay"]),
        eta=float(values["hp_eta"]),
        exclude_1d=bool(values["hp_exclude_1d"]),
    )
    for step, lr in enumerate(values["hp_lr"]):
        set_lr(optimizer, float(lr))
        for i, p in enumerate(parameters):
            grad = values.get(f"in_grad_{step}_{i}")
            p.grad = None if grad is None else tensor(grad)
        optimizer.step()
        for i, p in enumerate(parameters):
            close(p, values[f"out_param_{step}_{i}"], 1e-6)
    for i, p in enumerate(parameters):
        if f"out_mu_{i}" in values:
            close(optimizer.state[p]["momentum_buffer"], values[f"out_mu_{i}"], 1e-6)


def our_name(name: str) -> str:
    return name.replace("backbone.", "backbone.net.").replace("projector.", "expander.")


@pytest.mark.family("vicreg/steps")
def test_steps(case: Path) -> None:
    values = arrays(case)
    before = load_file(f"{case}.before.safetensors")
    linear = sorted(
        (int(name.split(".")[1]), len(value))
        for name, value in before.items()
        if name.startswith("projector.") and name.endswith(".weight") and value.ndim == 2
    )
    batch, per_epoch = int(values["hp_batch_size"]), int(values["hp_steps_per_epoch"])
    config = VICRegConfig(expander="-".join(str(width) for _, width in linear), **coefficients(values))
    width = len(before["backbone.bn.weight"])
    method = VICReg(config, Backbone(TinyNet(width), features=width, arch="tiny"), RunFacts(), batch)
    method.load_state_dict({our_name(name): value for name, value in before.items()})
    optim = OptimConfig(
        optimizer="lars",
        lr=float(values["hp_base_lr"]),
        scale_lr="batch256",
        momentum=float(values["hp_lars_momentum"]),
        eta=float(values["hp_lars_eta"]),
        weight_decay=float(values["hp_weight_decay"]),
        warmup_epochs=10,
        min_lr_share=0.001,
    )
    optimizer = build_optimizer(optim, method.train())
    for step, (x, y) in enumerate(values["in_images"]):
        epoch = (int(values["hp_first_step"]) + step) / per_epoch
        lr = optim.lr_at(epoch, int(values["hp_epochs"]), batch=batch)
        assert lr == pytest.approx(float(values["out_lr"][step]), rel=1e-12)
        set_lr(optimizer, lr)
        out = method(Batch((tensor(x), tensor(y)), torch.arange(len(x)), step))
        optimizer.zero_grad()
        out.loss.backward()
        if step == 0:
            gradients = load_file(f"{case}.grad_step0.safetensors")
            own = {name: p.grad for name, p in method.named_parameters()}
            assert {our_name(name) for name in gradients} == own.keys()
            for name, value in gradients.items():
                close(own[our_name(name)], value, 2e-4)
        optimizer.step()
        method.after_step()
        close(out.loss, values["out_loss"][step], 1e-4)
    state = method.state_dict()
    after = load_file(f"{case}.after.safetensors")
    assert {our_name(name) for name in after} == state.keys()
    for name, value in after.items():
        close(state[our_name(name)], value, 1e-4, 1e-4)
