"""Reading recorded numbers, and the tiny encoder that the recorded training steps use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Arrays = dict[str, NDArray[Any]]


class TinyNet(nn.Module):
    """The encoder of the recorded steps: conv, batch norm, ReLU, mean over the image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = torch.relu(self.bn(self.conv(x))).mean(dim=(2, 3))
        return out


def arrays(case: Path) -> Arrays:
    with np.load(f"{case}.npz", allow_pickle=False) as file:
        return dict(file)


def tensor(x: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x))


def close(got: Any, expected: Any, atol: float, rtol: float = 1e-5) -> None:
    torch.testing.assert_close(
        torch.as_tensor(got).detach().double(), torch.as_tensor(expected).double(), atol=atol, rtol=rtol
    )
