"""Replay of golden/moco: MoCo-v2 with geo and temporal variants, recorded from geography-aware-ssl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file
from torch import Tensor, nn

from recorded import Arrays, TinyNet, arrays, close, tensor
from rstrain import distributed
from rstrain.data.fmow_pairs import repo_partners
from rstrain.losses.infonce import annealed_alpha, batch_accuracy, top_accuracy
from rstrain.methods import MoCoConfig, RunFacts
from rstrain.methods.base import Batch
from rstrain.methods.moco import MoCo, Similarities
from rstrain.models.backbone import Backbone
from rstrain.optim.config import OptimConfig
from rstrain.optim.optimizers import build_optimizer
from shards.errors import UserError

torch.set_num_threads(1)


class RecordingMoCo(MoCo):
    seen: Similarities

    def similarities(self, batch: Batch) -> Similarities:
        self.seen = super().similarities(batch)
        return self.seen


def our_name(name: str) -> str:
    for theirs, ours in (
        ("encoder_q.fc.", "query.head."),
        ("encoder_k.fc.", "key.head."),
        ("encoder_q.", "query.backbone.net."),
        ("encoder_k.", "key.backbone.net."),
        ("geo.layers.1.", "geo_head.linear."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def moco_from(state: dict[str, Tensor], values: Arrays, key_order: Any = None) -> RecordingMoCo:
    """Our MoCo with the recorded weights; sizes are read from them."""
    width = len(state["encoder_q.bn.weight"])
    mlp = "encoder_q.fc.2.weight" in state
    geo = "geo.layers.1.weight" in state
    dim = len(state["encoder_q.fc.2.bias" if mlp else "encoder_q.fc.bias"])
    config = MoCoConfig(
        kind="moco-geo-tp" if geo else "moco-tp",
        dim=dim,
        mlp=mlp,
        queue=state["queue"].shape[1] if "queue" in state else 8,
        temperature=float(values.get("hp_temperature", np.array(1.0))),
        encoder_momentum=float(values["hp_momentum"]),
    )
    facts = RunFacts(geo_classes=len(state["geo.layers.1.bias"]) if geo else None)
    method = RecordingMoCo(config, Backbone(TinyNet(width), features=width, arch="tiny"), facts, key_order)
    ours = {our_name(name): value for name, value in state.items()}
    own = method.state_dict()
    assert own.keys() - ours.keys() <= {"queue", "queue_ptr"}
    method.load_state_dict({**own, **ours})
    return method


def identity_moco(values: Arrays, geo_classes: int | None = None, **options: Any) -> RecordingMoCo:
    """A MoCo whose projection is its input: the head is a unit matrix."""
    dim, size = values["in_queue"].shape
    config = MoCoConfig(
        dim=dim, queue=size, mlp=False, temperature=float(values["hp_temperature"]), **options
    )
    samples = len(values["in_q"])
    facts = RunFacts(
        batch=samples,
        samples=samples,
        epochs=int(values.get("hp_epochs", np.array(1))),
        geo_classes=geo_classes,
    )
    method = RecordingMoCo(config, Backbone(nn.Identity(), features=dim, arch="identity"), facts)
    with torch.no_grad():
        for branch in (method.query, method.key):
            branch.head.weight.copy_(torch.eye(dim))
            branch.head.bias.zero_()
        method.queue.copy_(tensor(values["in_queue"]))
        method.queue_ptr.fill_(int(values["in_queue_ptr"]))
    return method


def one_step(
    method: RecordingMoCo, values: Arrays, step: int = 0, geo: Tensor | None = None
) -> tuple[Tensor, Any]:
    query = tensor(values["in_q"]).requires_grad_()
    method.before_step()
    out = method(Batch((query, tensor(values["in_k"])), torch.arange(len(query)), step, geo=geo))
    out.loss.backward()
    method.after_step()
    close(method.seen.logits, values["out_logits"], 5e-5)
    close(method.queue, values["out_queue"], 1e-6)
    assert int(method.queue_ptr) == int(values["out_queue_ptr"])
    close(query.grad, values["out_grad_q"], 1e-5)
    return out.loss, out


@pytest.mark.family("moco/logits_cpc")
def test_logits_cpc(case: Path) -> None:
    values = arrays(case)
    method = identity_moco(values)
    loss, out = one_step(method, values)
    close(loss, values["out_loss"], 1e-5)
    assert not values["out_labels"].any(), "the positive stands in column 0"
    close(out.logs["acc1"], values["out_acc1"], 1e-4)
    close(top_accuracy(method.seen.logits, k=5), values["out_acc5"], 1e-4)
    close(batch_accuracy(method.seen.logits), values["out_acc_n"], 1e-4)


@pytest.mark.family("moco/logits_mlcpc")
def test_logits_mlcpc(case: Path) -> None:
    values = arrays(case)
    annealed = bool(values["hp_alpha_geo"])
    alpha, low = float(values["hp_alpha"]), float(values["hp_alpha_low"])
    epoch, epochs = int(values["hp_epoch"]), int(values["hp_epochs"])
    method = identity_moco(values, loss="ml_cpc", alpha=alpha, alpha_low=low, alpha_geo=annealed)
    loss, _ = one_step(method, values, step=epoch)  # one step an epoch
    close(loss, values["out_loss"], 1e-5)
    close(annealed_alpha(alpha, low, epoch, epochs) if annealed else alpha, values["out_alpha_used"], 1e-9)
    close(batch_accuracy(method.seen.logits), values["out_acc_n"], 1e-4)


@pytest.mark.family("moco/geo_head")
def test_geo_head(case: Path) -> None:
    values = arrays(case)
    method = identity_moco(values, geo_classes=len(values["in_geo_bias"]), kind="moco-geo")
    head = method.geo_head
    assert head is not None
    with torch.no_grad():
        head.linear.weight.copy_(tensor(values["in_geo_weight"]))
        head.linear.bias.copy_(tensor(values["in_geo_bias"]))
    loss, out = one_step(method, values, geo=tensor(values["in_geo_label"]))
    close(method.seen.z, values["out_embedding"], 1e-6)
    close(head(method.seen.z), values["out_geo_logits"], 5e-5)
    close(loss, values["out_loss_total"], 1e-5)
    close(out.logs["loss_geo"], values["out_loss_geo"], 1e-5)
    close(out.logs["loss_contrastive"], values["out_loss_contrastive"], 1e-5)
    close(out.logs["acc1_geo"], values["out_acc1_geo"], 1e-4)
    close(head.linear.weight.grad, values["out_grad_geo_weight"], 1e-5)
    close(head.linear.bias.grad, values["out_grad_geo_bias"], 1e-5)


@pytest.mark.family("moco/momentum_update")
def test_momentum_update(case: Path) -> None:
    facts = json.loads(Path(f"{case}.json").read_text())
    recorded = load_file(f"{case}.safetensors")
    before = {k.removeprefix("before."): v for k, v in recorded.items() if k.startswith("before.")}
    method = moco_from(before, {"hp_momentum": np.array(facts["momentum"])})
    for _ in range(facts["times"]):
        method.before_step()
    state = method.state_dict()
    after = {k.removeprefix("after."): v for k, v in recorded.items() if k.startswith("after.")}
    for name, expected in after.items():
        close(state[our_name(name)], expected, 1e-6)


@pytest.mark.family("moco/steps_tp")
def test_steps_tp(case: Path) -> None:
    replay_steps(case)


@pytest.mark.family("moco/steps_geo")
def test_steps_geo(case: Path) -> None:
    replay_steps(case)


def replay_steps(case: Path) -> None:
    values = arrays(case)
    method = moco_from(load_file(f"{case}.before.safetensors"), values)
    optim = OptimConfig(
        lr=float(values["hp_lr"]),
        momentum=float(values["hp_sgd_momentum"]),
        weight_decay=float(values["hp_weight_decay"]),
        schedule="constant",
    )
    optimizer = build_optimizer(optim, method)
    method.train()
    for step, (query, key) in enumerate(values["in_images"]):
        geo = tensor(values["in_geo_label"][step]) if "in_geo_label" in values else None
        method.before_step()
        out = method(Batch((tensor(query), tensor(key)), torch.arange(len(query)), step, geo=geo))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step()
        close(method.seen.logits, values["out_logits"][step], 1e-4)
        close(out.loss, values["out_loss_total"][step], 1e-4)
        close(out.logs["loss_contrastive"], values["out_loss_contrastive"][step], 1e-4)
        if geo is not None:
            close(out.logs["loss_geo"], values["out_loss_geo"][step], 1e-4)
    state = method.state_dict()
    expected = load_file(f"{case}.after.safetensors")
    assert {our_name(name) for name in expected} == state.keys()
    for name, value in expected.items():
        close(state[our_name(name)], value, 1e-6 if name == "queue" else 5e-6)


@pytest.mark.slow
@pytest.mark.family("moco/two_rank_shuffle_bn")
def test_two_rank_shuffle_bn(case: Path, tmp_path: Path) -> None:
    values = arrays(case)
    ranks = len(values["in_images"])
    mp.spawn(two_rank_step, args=(ranks, str(case), str(tmp_path)), nprocs=ranks)
    for r in range(ranks):
        got = torch.load(tmp_path / f"{r}.pt", weights_only=True)
        close(got["logits"], values["out_logits"][r], 5e-5)
        close(got["loss"], values["out_loss"][r], 1e-5)
        close(got["queue"], values["out_queue"], 1e-6)
        assert int(got["queue_ptr"]) == int(values["out_queue_ptr"])
        for name, expected in values.items():
            if name.startswith("out_grad."):
                ours = our_name("encoder_q." + name.removeprefix("out_grad."))
                close(got["grad." + ours], expected, 2e-5)
            if name.startswith(f"out_rank{r}."):
                close(got[our_name(name.removeprefix(f"out_rank{r}."))], expected, 1e-6)


def two_rank_step(rank: int, ranks: int, case: str, out: str) -> None:
    torch.set_num_threads(1)
    env = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(rank)}
    distributed.init("cpu", env=env, init_method=f"file://{out}/rendezvous")
    values = arrays(Path(case))
    order = tensor(values["in_perm"])
    method = moco_from(load_file(f"{case}.before.safetensors"), values, lambda step, micro, size: order)
    ddp = nn.parallel.DistributedDataParallel(method, broadcast_buffers=False)
    query, key = (tensor(v) for v in values["in_images"][rank])
    method.before_step()
    step = ddp(Batch((query, key), torch.arange(len(query)), 0))
    step.loss.backward()
    method.after_step()
    got = {"logits": method.seen.logits.detach(), "loss": step.loss.detach(), **method.state_dict()}
    got |= {f"grad.{n}": p.grad for n, p in method.named_parameters() if p.grad is not None}
    torch.save(got, f"{out}/{rank}.pt")
    distributed.shutdown()
    distributed.leave()


@pytest.mark.family("moco/lr_schedule")
def test_lr_schedule(case: Path) -> None:
    for entry in json.loads(Path(f"{case}.json").read_text()).values():
        config = OptimConfig(
            lr=entry["lr"],
            schedule="cosine_epoch" if entry["cos"] else "step",
            milestones=tuple(entry["schedule"]),
        )
        got = [config.lr_at(epoch + 0.5, entry["epochs"]) for epoch in range(entry["epochs"])]
        np.testing.assert_allclose(got, entry["values"], rtol=1e-12, atol=0)


@pytest.mark.family("moco/temporal_pairs")
def test_temporal_pairs(case: Path) -> None:
    recorded = json.loads(Path(f"{case}.json").read_text())
    files = recorded["files_on_disk"]
    for row in recorded["rows"]:
        if "error" in row:
            with pytest.raises(UserError, match="temporal partner"):
                repo_partners(row["query"], files)
            continue
        candidates = repo_partners(row["query"], files)
        assert set(candidates) == set(row["candidates"]), row["query"]
        assert (not candidates) == row["fallback_to_self"], row["query"]
