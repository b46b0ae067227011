"""Self-supervised methods. This file and the configs import no torch.

A new method is one config, one module, and one name in `AnyMethod`.
"""

from __future__ import annotations

import difflib
from typing import Any, TypeAlias, get_args

from rstrain.methods.config import MethodConfig, Pairing, RunFacts
from rstrain.methods.gersp_config import GeRSPConfig
from rstrain.methods.mae_config import MAEConfig, ScaleMAEConfig
from rstrain.methods.moco_config import MoCoConfig
from rstrain.methods.seco_config import SeCoConfig
from rstrain.methods.supervised_config import SupervisedConfig
from rstrain.methods.vicreg_config import VICRegConfig
from shards.errors import ConfigError

AnyMethod: TypeAlias = (
    MoCoConfig  # moco, moco-geo, moco-tp, moco-geo-tp
    | SeCoConfig  # seco
    | VICRegConfig  # vicreg
    | MAEConfig  # mae
    | ScaleMAEConfig  # scalemae
    | GeRSPConfig  # gersp
    | SupervisedConfig  # supervised
)

__all__ = [
    "AnyMethod",
    "GeRSPConfig",
    "MAEConfig",
    "MethodConfig",
    "MoCoConfig",
    "Pairing",
    "RunFacts",
    "ScaleMAEConfig",
    "SeCoConfig",
    "SupervisedConfig",
    "VICRegConfig",
    "method_config",
    "method_kinds",
]


def method_kinds() -> dict[str, type[MethodConfig]]:
    """Every method by the name that `rstrain pretrain` takes."""
    configs: tuple[type[MethodConfig], ...] = get_args(AnyMethod)
    return {kind: c for c in configs for kind in get_args(c.model_fields["kind"].annotation)}


def method_config(kind: str, **options: Any) -> MethodConfig:
    """Config of the method called `kind`.

    Raises:
        ConfigError: there is no such method, or an option is unknown or wrong.
    """
    kinds = method_kinds()
    if kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"unknown method {kind!r}; known: {', '.join(kinds)}{hint}")
    return kinds[kind].build(f"method {kind}", kind=kind, **options)
