"""Replay of golden/seco: seasonal contrast, recorded from seasonal-contrast."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from recorded import Arrays, TinyNet, arrays, close, tensor
from rstrain.methods import RunFacts, SeCoConfig
from rstrain.methods.base import Batch
from rstrain.methods.seco import SeCo, SpaceSimilarities
from rstrain.models.backbone import Backbone
from rstrain.optim.config import OptimConfig
from rstrain.optim.optimizers import build_optimizer

torch.set_num_threads(1)


class Spaces(SeCoConfig):
    """Any number of spaces, as recorded."""

    recorded: int = 3

    @property
    def spaces(self) -> int:
        return self.recorded


class RecordingSeCo(SeCo):
    seen: SpaceSimilarities

    def similarities(self, batch: Batch) -> SpaceSimilarities:
        self.seen = super().similarities(batch)
        return self.seen


def our_name(name: str) -> str:
    for theirs, ours in (
        ("encoder_q.", "query.backbone.net."),
        ("encoder_k.", "key.backbone.net."),
        ("heads_q.", "query.heads."),
        ("heads_k.", "key.heads."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def seco(net: nn.Module, queue: Tensor, features: int, values: Arrays) -> RecordingSeCo:
    """Our SeCo with the sizes of a recorded queue [S, D, K]; one space is the original's plain MoCo."""
    spaces, dim, size = queue.shape
    config = Spaces(
        mode="moco" if spaces == 1 else "seco",
        recorded=spaces,
        dim=dim,
        queue=size,
        temperature=float(values["hp_temperature"]),
        encoder_momentum=float(values["hp_momentum"]),
    )
    return RecordingSeCo(config, Backbone(net, features=features, arch="tiny"), RunFacts())


@pytest.mark.family("seco/logits")
def test_logits(case: Path) -> None:
    values = arrays(case)
    heads = load_file(f"{case}.heads.safetensors")
    query = tensor(values["in_v_q"]).requires_grad_()
    method = seco(nn.Identity(), tensor(values["in_queue"]), query.shape[1], values)
    assert method.config.spaces == int(values["hp_emb_spaces"])
    before = {n.removeprefix("before."): v for n, v in heads.items() if n.startswith("before.")}
    method.load_state_dict(
        {our_name(name): value for name, value in before.items()}
        | {"queue": tensor(values["in_queue"]), "queue_ptr": tensor(values["in_queue_ptr"])[:, None]}
    )
    method.before_step()
    out = method(Batch((query, *tensor(values["in_v_k"])), torch.arange(len(query)), 0))
    out.loss.backward()
    method.after_step()
    for i, logits in enumerate(method.seen.logits):
        close(logits, values[f"out_logits_{i}"], 3e-5)
        close(out.logs[f"loss_{i}"], values["out_loss_per_space"][i], 1e-5)
        if "out_acc1_per_space" in values:
            close(out.logs[f"acc1_{i}"], values["out_acc1_per_space"][i], 1e-4)
    close(out.loss, values["out_loss"], 1e-5)
    close(query.grad, values["out_grad_v_q"], 1e-5)
    gradients = {name: p.grad for name, p in method.named_parameters() if p.requires_grad}
    recorded = {our_name(n.removeprefix("out_grad.")): v for n, v in values.items() if "out_grad." in n}
    assert gradients.keys() == recorded.keys()
    for name, expected in recorded.items():
        close(gradients[name], expected, 1e-5)
    close(method.queue, values["out_queue"], 1e-6)
    assert method.queue_ptr.flatten().tolist() == values["out_queue_ptr"].tolist()
    state = method.state_dict()
    for name, expected in heads.items():
        if name.startswith("after."):
            close(state[our_name(name.removeprefix("after."))], expected, 1e-6)


@pytest.mark.family("seco/steps")
def test_steps(case: Path) -> None:
    values = arrays(case)
    before = load_file(f"{case}.before.safetensors")
    width = len(before["encoder_q.bn.weight"])
    method = seco(TinyNet(width), before["queue"], width, values)
    method.load_state_dict({our_name(name): value for name, value in before.items()})
    optim = OptimConfig(
        lr=float(values["hp_lr"]),
        momentum=float(values["hp_sgd_momentum"]),
        weight_decay=float(values["hp_weight_decay"]),
        schedule="constant",
    )
    optimizer = build_optimizer(optim, method)
    method.train()
    for step, images in enumerate(values["in_images"]):
        views = tuple(tensor(images))
        method.before_step()
        out = method(Batch(views, torch.arange(len(views[0])), step))
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        method.after_step()
        close(out.loss, values["out_loss"][step], 5e-5)
        for i, logits in enumerate(method.seen.logits):
            close(logits, values[f"out_logits_{i}"][step], 5e-5)
    state = method.state_dict()
    expected = load_file(f"{case}.after.safetensors")
    assert {our_name(name) for name in expected} == state.keys()
    for name, value in expected.items():
        close(state[our_name(name)], value, 3e-6)
