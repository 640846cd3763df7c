"""torchvision: every model that is not quantised, up to 100 million parameters."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

from benchmarks.models.imagenet import torchvision
from benchmarks.zoos.counts import counts
from benchmarks.zoos.pictures import pictures

MOST_PARAMETERS = 100_000_000
IMAGE = (2, 3, 224, 224)
# Frames, height, width: as published, or the smallest that the model's strides allow.
CLIPS = {"s3d": (16, 224, 224), "mvit_v1_b": (16, 224, 224), "mvit_v2_s": (16, 224, 224)}
CLIP = (16, 112, 112)
# Small images, few boxes, and no box dropped for its score: an untrained detector is sure of none.
FEW = {"detections_per_img": 20, "score_thresh": 0.0, "topk_candidates": 50}
RESIZED = {"min_size": 200, "max_size": 320}
RCNN = {
    "box_score_thresh": 0.0,
    "box_detections_per_img": 20,
    "rpn_pre_nms_top_n_test": 100,
    "rpn_post_nms_top_n_test": 50,
}


def names() -> list[str]:
    """All model builders with at most 100 million parameters, in alphabetical order."""
    library = torchvision()
    listed = [name for name in library.models.list_models() if _task(name) != "quantization"]
    size = counts(f"torchvision-{library.__version__}", listed, _make)
    return [name for name in listed if size.get(name, MOST_PARAMETERS + 1) <= MOST_PARAMETERS]


def build(name: str) -> tuple[nn.Module, Any]:
    """Model ``name`` without weights, and what its task reads: images, a clip, or two frames.

    Detectors take a list of two images of unlike sizes, and are told to resize them to 200 pixels.
    """
    model, task = _make(name).eval(), _task(name)
    if task == "detection":
        _runnable_detectors()
        return model, ([pictures(3, 200, 260).sigmoid(), pictures(3, 220, 200).sigmoid()],)
    if task == "video":
        return model, pictures(2, 3, *CLIPS.get(name, CLIP))
    if task == "optical_flow":
        return model, (pictures(2, 3, 128, 128), pictures(2, 3, 128, 128))
    return model, pictures(*IMAGE)


def _task(name: str) -> str:
    module: str = torchvision().models.get_model_builder(name).__module__
    below = module.removeprefix("torchvision.models.").split(".")
    return below[0] if len(below) > 1 else "classification"


def _make(name: str) -> nn.Module:
    options: dict[str, Any] = {"weights": None}
    task = _task(name)
    if task in ("detection", "segmentation"):
        options["weights_backbone"] = None
    if task == "detection":
        options |= RCNN if "rcnn" in name else FEW
        if not name.startswith("ssd"):  # these read one size only
            options |= RESIZED
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True
    model: nn.Module = torchvision().models.get_model(name, **options)
    return model


def _runnable_detectors() -> None:
    """Where torchvision's compiled operators are missing, give detectors plain ones."""
    torchvision()
    from torchvision import extension
    from torchvision.ops import boxes

    if extension._has_ops():
        return
    boxes._assert_has_ops = lambda: None
    if not torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "CPU"):
        torch.library.impl("torchvision::nms", "CPU", suppress)
    # ``torchvision.ops.roi_align`` names the function, which hides the module.
    align: Any = importlib.import_module("torchvision.ops.roi_align")
    # The Python version is compiled on first use, which takes longer than it saves.
    align._roi_align = getattr(align._roi_align, "__wrapped__", align._roi_align)


def suppress(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Non-maximum suppression as torchvision defines it.

    Args:
        boxes: (N, 4) corners x1, y1, x2, y2.
        scores: (N,).
        threshold: a box that overlaps a better one by more (intersection over union) goes.

    Returns:
        Indices of the boxes that stay, int64, best first.
    """
    order = scores.argsort(descending=True, stable=True)
    low, high = boxes[order, :2], boxes[order, 2:]
    sides = (torch.minimum(high[:, None], high) - torch.maximum(low[:, None], low)).clamp(min=0)
    shared, area = sides.prod(2), (high - low).prod(1)
    overlap = shared / (area[:, None] + area - shared)
    stays = torch.ones(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if stays[i]:
            stays[i + 1 :] &= ~(overlap[i, i + 1 :] > threshold)
    return order[stays]
