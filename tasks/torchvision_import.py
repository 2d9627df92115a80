"""Import torchvision (and timm, which needs it) also where its compiled operators do not fit a CPU build of PyTorch.

The wheel on PyPI is built against CUDA; beside a CPU build its import fails with ``operator torchvision::nms does not
exist``. Naming the operators first lets the pure Python parts work. Real installations never reach that branch.
"""

from __future__ import annotations

import sys
from types import ModuleType

import torch

__all__ = ["import_timm", "import_torchvision"]

_KEEP: list[torch.library.Library] = []  # a library's definitions live as long as it does


def import_torchvision() -> ModuleType:
    """The torchvision package."""
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEEP.append(library)
        import torchvision
    result: ModuleType = torchvision
    return result


def import_timm() -> ModuleType:
    """The timm package; ImportError where it is not installed."""
    import_torchvision()
    import timm

    result: ModuleType = timm
    return result
