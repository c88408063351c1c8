"""Lets torchvision be imported beside a PyTorch without CUDA, in processes that have this folder on PYTHONPATH.

torchvision's wheels are built for the CUDA builds of PyTorch. Beside a CPU build its compiled operators do not load,
and then it cannot be imported at all, since it describes two of them; nothing that reads images uses either. Here
they are declared, so that `torchvision.datasets.ImageFolder` itself is what the tests run, unmodified.
"""

from __future__ import annotations

import torch

if torch.version.cuda is None:
    declared = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
