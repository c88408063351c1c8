"""Lets torchvision be imported beside a PyTorch without CUDA, in processes that have this folder on PYTHONPATH.

torchvision's wheels are built for the CUDA builds of PyTorch. Beside a CPU build its compiled operators do not load,
and then it cannot be imported at all, since it describes two of them; nothing that reads images uses either. Here
they are declared, when torchvision is first asked for, so that its own `ImageFolder` is what the tests run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _BeforeTorchvision(MetaPathFinder):
    """Finds nothing, but is asked first."""

    def __init__(self) -> None:
        self._kept: list[object] = []

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name != "torchvision" or self._kept:
            return
        import torch

        if torch.version.cuda is None:
            declared = torch.library.Library("torchvision", "DEF")
            self._kept.append(declared)  # what is declared goes with it
            for operator in ("nms", "qnms"):
                declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


sys.meta_path.insert(0, _BeforeTorchvision())
