"""Replay of golden/gersp: a contrast with a teacher beside a classifier, recorded from GeRSP."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from recorded import Arrays, TinyNet, arrays, close, tensor
from rstrain.data.gersp_pairs import repo_items
from rstrain.evals.knn import knn_votes
from rstrain.methods import GeRSPConfig, RunFacts
from rstrain.methods.base import Batch
from rstrain.methods.gersp import GeRSP
from rstrain.models.backbone import Backbone
from rstrain.optim.config import OptimConfig
from rstrain.optim.optimizers import build_optimizer

torch.set_num_threads(1)
State = dict[str, Tensor]


def our_name(name: str) -> str:
    for theirs, ours in (
        ("encoder_q.", "query.backbone.net."),
        ("encoder_k.", "key.backbone.net."),
        ("proj_q.projector.", "query.head."),
        ("proj_k.projector.", "key.head."),
        ("pred_q.0.", "classifier."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def gersp_from(net: nn.Module, state: State, values: Arrays) -> GeRSP:
    """Our GeRSP, preset repo, with the recorded weights; sizes are read from them."""
    hidden, features = state["proj_q.projector.0.weight"].shape
    dim = len(state["proj_q.projector.2.bias"])
    config = GeRSPConfig(
        teacher_init="copy",
        dim=dim,
        queue=state["queue"].shape[1] if "queue" in state else 8,
        temperature=float(values.get("hp_temperature", np.array(1.0))),
        encoder_momentum=float(values.get("hp_momentum", np.array(0.999))),
        alpha=float(values.get("hp_alpha", np.array(1.0))),
    )
    classes = len(state["pred_q.0.bias"]) if "pred_q.0.bias" in state else 2
    method = GeRSP(config, Backbone(net, features=features, arch="tiny"), RunFacts(second_classes=classes))
    for branch in (method.query, method.key):  # a recorded projector may be narrower than the features
        branch.head = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, dim))
    method.key.requires_grad_(False)
    ours = {our_name(name): value for name, value in state.items()}
    method.load_state_dict({**method.state_dict(), **ours})
    return method


@pytest.mark.family("gersp/loss_features")
def test_loss_features(case: Path) -> None:
    values = arrays(case)
    weights = load_file(f"{case}.weights.safetensors")
    weights |= {"queue": tensor(values["in_queue"]), "queue_ptr": tensor(values["in_queue_ptr"]).view(1)}
    method = gersp_from(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), weights, values)
    query, labelled = (tensor(values[f"in_feat_{n}"]).requires_grad_() for n in ("query", "labelled"))
    rows = torch.arange(len(query))
    second = Batch((labelled,), torch.arange(len(labelled)), 0, label=tensor(values["in_label"]))
    out = method(Batch((query, tensor(values["in_feat_key"])), rows, 0, second=second))
    out.loss.backward()
    method.after_step()
    close(out.loss, values["out_loss_total"], 1e-5)
    close(out.logs["loss_contrastive"], values["out_loss_contrastive"], 1e-5)
    close(out.logs["loss_supervised"] * method.config.alpha, values["out_loss_supervised"], 1e-5)
    close(out.logs["acc1_label"], values["out_sup_acc1"], 1e-4)
    close(out.logs["acc5_label"], values["out_sup_acc5"], 1e-4)
    close(query.grad, values["out_grad_feat_query"], 1e-5)
    close(labelled.grad, values["out_grad_feat_labelled"], 1e-5)
    gradients = {name: p.grad for name, p in method.named_parameters() if p.requires_grad}
    recorded = {our_name(n.removeprefix("out_grad.")): v for n, v in values.items() if "out_grad." in n}
    assert gradients.keys() == recorded.keys()
    for name, expected in recorded.items():
        close(gradients[name], expected, 1e-5)
    close(method.queue, values["out_queue"], 1e-6)
    assert int(method.queue_ptr) == int(values["out_queue_ptr"])


@pytest.mark.family("gersp/teacher_update")
def test_teacher_update(case: Path) -> None:
    facts = json.loads(Path(f"{case}.json").read_text())
    recorded = load_file(f"{case}.safetensors")
    before, after = (
        {name.removeprefix(when): v for name, v in recorded.items() if name.startswith(when)}
        for when in ("before.", "after.")
    )
    net = TinyNet(len(before["encoder_q.bn.weight"]))
    method = gersp_from(net, before, {"hp_momentum": np.array(facts["momentum"])})
    for _ in range(facts["times"]):
        method.before_step()
    state = method.state_dict()
    for name, expected in after.items():
        close(state[our_name(name)], expected, 1e-6)
        if name.startswith("proj_k."):
            assert torch.equal(state[our_name(name)], expected)


@pytest.mark.family("gersp/steps")
def test_steps(case: Path) -> None:
    values = arrays(case)
    before = load_file(f"{case}.before.safetensors")
    method = gersp_from(TinyNet(len(before["encoder_q.bn.weight"])), before, values)
    optim = OptimConfig(
        lr=float(values["hp_lr"]),
        momentum=float(values["hp_sgd_momentum"]),
        weight_decay=float(values["hp_weight_decay"]),
        schedule="constant",
    )
    optimizer = build_optimizer(optim, method)
    method.train()
    for step, (views, labelled) in enumerate(
        zip(values["in_unlabelled"], values["in_labelled"], strict=True)
    ):
        label = tensor(values["in_label"][step])
        second = Batch((tensor(labelled),), torch.arange(len(label)), step, label=label)
        method.before_step()
        out = method(Batch(tuple(tensor(views)), torch.arange(views.shape[1]), step, second=second))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step()
        close(out.loss, values["out_loss_total"][step], 1e-5)
        close(out.logs["loss_supervised"] * method.config.alpha, values["out_loss_supervised"][step], 1e-5)
        close(out.logs["acc1_label"], values["out_sup_acc1"][step], 1e-4)
        close(out.logs["acc5_label"], values["out_sup_acc5"][step], 1e-4)
    state = method.state_dict()
    expected = load_file(f"{case}.after.safetensors")
    assert {our_name(name) for name in expected} == state.keys()
    for name, value in expected.items():
        close(state[our_name(name)], value, 2e-6)


@pytest.mark.family("gersp/index_pairing")
def test_index_pairing(case: Path) -> None:
    for entry in json.loads(Path(f"{case}.json").read_text()):
        items = repo_items(entry["labelled"], entry["unlabelled"])
        assert len(items) == entry["length"]
        assert items.tolist() == entry["items"]


@pytest.mark.family("gersp/knn_bundled")
def test_knn_bundled(case: Path) -> None:
    values = arrays(case)
    votes, _ = knn_votes(
        tensor(values["in_train"]),
        tensor(values["in_train_label"]),
        tensor(values["in_test"]),
        k=int(values["hp_k"]),
        temperature=float(values["hp_T"]),
        classes=int(values["hp_num_classes"]),
    )
    best = votes.argsort(dim=1, descending=True, stable=True)
    right = best == tensor(values["in_test_label"])[:, None]
    for k, name in ((1, "out_top1"), (5, "out_top5")):
        share = right[:, :k].any(dim=1).double().mean().item() * 100
        assert share == pytest.approx(float(values[name]), abs=1e-9)
