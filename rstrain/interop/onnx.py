"""A backbone as an ONNX graph, checked against torch in onnxruntime before it is written."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from rstrain.interop.backbone import BackboneFacts, header
from shards.errors import ConfigError, UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rstrain.models.backbone import Backbone

TOLERANCE = 1e-4
"""Largest difference of a feature from torch's, relative to the largest feature."""
_BATCHES = (1, 3)


class ExportError(UserError):
    """A graph that does not compute what the backbone does."""


def onnx_bytes(backbone: Backbone, facts: BackboneFacts) -> tuple[bytes, float]:
    """The file, and the largest difference that was seen.

    Input `images` float32 [batch, bands, side, side], normalised; a gsd: model takes `resolution` [batch] too. Output
    `features` [batch, F]. `batch` is free; the facts stand in the metadata under `rstrain`.

    Raises:
        ConfigError: the extra `onnx` is not installed.
        ExportError: onnxruntime's features differ from torch's by more than `TOLERANCE`.
    """
    import torch

    os.environ.setdefault(
        "ORT_DISABLE_TELEMETRY", "1"
    )  # else onnxruntime calls home as soon as it is imported
    try:
        import onnx
        import onnxruntime  # type: ignore[import-untyped]
        import onnxscript  # noqa: F401  # the exporter of torch needs it
    except ImportError as error:
        raise ConfigError(
            f"--to onnx needs {error.name}, which is not installed: pip install 'rspretrain[onnx]'"
        ) from None
    given = _inputs(facts, 2)
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            backbone.cpu().eval(),
            tuple(given.values()),
            input_names=list(given),
            output_names=["features"],
            dynamic_shapes=tuple({0: batch} for _ in given),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, header(facts))
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, _difference(session, backbone, facts)


def _inputs(facts: BackboneFacts, batch: int) -> dict[str, Tensor]:
    import torch

    draw = torch.Generator().manual_seed(batch)
    images = torch.randn(batch, facts.bands, facts.size, facts.size, generator=draw)
    if not facts.arch.startswith("gsd:"):
        return {"images": images}
    return {"images": images, "resolution": 0.5 + torch.rand(batch, generator=draw)}


def _difference(session: Any, backbone: torch.nn.Module, facts: BackboneFacts) -> float:
    import torch

    worst = 0.0
    for count in _BATCHES:
        given = _inputs(facts, count)
        with torch.no_grad():
            expected = backbone(*given.values()).numpy()
        (got,) = session.run(["features"], {name: value.numpy() for name, value in given.items()})
        if got.shape != expected.shape:
            raise ExportError(f"the ONNX graph gives features of shape {got.shape}, torch {expected.shape}")
        worst = max(worst, float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max()))))
    if not worst <= TOLERANCE:
        raise ExportError(
            f"features of the ONNX graph differ from torch's by {worst:.2g}, more than {TOLERANCE:g}: nothing was written; "
            "try another version of onnxruntime"
        )
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter explains itself at length."""
    names = ("torch.onnx", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
