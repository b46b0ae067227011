"""Checkpoints of others, read without running anything that they bring along.

A pickle can call any function that it names. torch's restricted reader lets in tensors and plain containers; on top of
that come the harmless classes below, which training scripts store beside the weights. They are replaced by empty
stand-ins, so not even these run. Everything else is refused.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rstrain.interop.backbone import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


class StandIn:
    """Holds the place of an object that is not needed; takes any arguments and any state, and does nothing."""

    def __new__(cls, *args: object, **more: object) -> Self:
        """Whatever the real class would have been given."""
        return super().__new__(cls)

    def __init__(self, *args: object, **more: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


_PLACES = (
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath")),
    *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath")),  # written by Python 3.13
)
_NUMPY = tuple(
    f"{module}.{name}"
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("scalar", "_reconstruct")
)
ALLOWED: dict[str, type] = {
    "argparse.Namespace": StandIn,  # Scale-MAE, MAE: the options of the run
    **dict.fromkeys(_PLACES, StandIn),
    **dict.fromkeys((*_NUMPY, "numpy.dtype", "numpy.ndarray"), StandIn),  # best scores so far
    "__main__.exclude_bias_and_norm": StandIn,  # VICReg: a rule of its optimiser's groups
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": StandIn,  # SeCo: names of callbacks
    "pytorch_lightning.utilities.parsing.AttributeDict": dict,  # SeCo: hyper-parameters
}
"""Global named in a pickle -> what stands in for it."""


_HOLDERS = ("state_dict", "model", "student", "model_state_dict", "net")
"""Where training scripts put the weights, the first found is taken."""
_TWINS = ("teacher", "state_dict_ema", "model_ema")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a checkpoint by name, out of whatever they are wrapped in, and a sentence on what was passed over.

    Raises:
        CheckpointError: the file cannot be read, or has no tensors by name.
    """
    import torch

    loaded, notes = safe_load(path), []
    while isinstance(loaded, Mapping):
        holders = [name for name in _HOLDERS if isinstance(loaded.get(name), Mapping)]
        if not holders:
            break
        if twins := [name for name in _TWINS if name in loaded]:
            notes.append(f"the file has a student and a teacher: took `{holders[0]}`, left `{twins[0]}`")
        loaded = loaded[holders[0]]
    found = loaded.items() if isinstance(loaded, Mapping) else ()
    tensors = {k: v for k, v in found if isinstance(k, str) and isinstance(v, torch.Tensor)}
    if not tensors:
        raise CheckpointError(
            f"{path}: holds no tensors by name; expected a state dict, alone or under one of {', '.join(_HOLDERS)}"
        )
    return tensors, notes


def safe_load(path: Path) -> Any:
    """What `torch.save` or safetensors has put into a file; of objects other than tensors only stand-ins.

    Raises:
        CheckpointError: no such file, not a checkpoint, cut short, or a pickle with a class that is not on the list.
    """
    import safetensors
    import safetensors.torch
    import torch

    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file; give the checkpoint itself")
    if path.suffix == ".safetensors":
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                if "rstrain" in (file.metadata() or {}):
                    raise CheckpointError(
                        f"{path}: is a backbone of rstrain already: give it to rstrain eval, or to rstrain export"
                    )
            return safetensors.torch.load_file(path)
        except (OSError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"{path}: is not a whole safetensors file ({error}); download it again"
            ) from None
    allowed: list[Any] = [(kind, name) for name, kind in ALLOWED.items()]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path}: its pickle names {named[1]}, which is not on the list of what may be read, because a pickle "
                "can run any code that it names; store the weights alone (a dict of tensors) where the file was made, "
                "and convert that"
            ) from None
        raise CheckpointError(f"{path}: {_unreadable(error)}") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: {_unreadable(error)}") from None


def _unreadable(error: Exception) -> str:
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
    reason = text.splitlines()[0][:200]
    return f"cannot be read as a checkpoint of torch ({reason}); check that it is one, and download it again"
