"""torchvision's detectors, small and untrained, on a machine without torchvision's operators."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import nn

NAMES = ("FasterRCNN", "RetinaNet", "FCOS", "SSD", "SSDlite", "MaskRCNN", "KeypointRCNN")
_KERNELS: list[torch.library.Library] = []


def detector(name: str) -> nn.Module:
    """An untrained detector for small images that keeps few of its proposals and detections.

    The class named, on a ResNet-18 with a feature pyramid (``benchmarks.coverage`` has the large
    ones); SSDlite is torchvision's own of 320 pixels, for it has no class. Call it only with the
    fixture ``torchvision_models``, which makes torchvision importable.
    """
    _provide_nms()
    torch.manual_seed(0)
    model: Any = _build(name).eval()
    if hasattr(model, "rpn"):
        model.rpn._pre_nms_top_n["testing"] = 50
        model.rpn._post_nms_top_n["testing"] = 6
        model.roi_heads.detections_per_img = 3
    else:  # an untrained one is sure of nothing
        model.score_thresh, model.detections_per_img, model.topk_candidates = 0.0, 10, 20
    result: nn.Module = model
    return result


def _build(name: str) -> nn.Module:
    detection: Any = importlib.import_module("torchvision.models.detection")
    if name == "SSDlite":
        small: nn.Module = detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4
        )
        return small
    pyramid: Any = importlib.import_module("torchvision.models.detection.backbone_utils")
    backbone = pyramid.resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    if name == "SSD":
        anchors: Any = importlib.import_module("torchvision.models.detection.anchor_utils")
        boxes = anchors.DefaultBoxGenerator([[2]] * 5)
        del backbone.out_channels  # one number, where SSD wants one of each level
        ssd: nn.Module = detection.ssd.SSD(backbone, boxes, size=(96, 96), num_classes=4)
        return ssd
    options: dict[str, Any] = {"num_classes": 4, "min_size": 64, "max_size": 96}
    if name == "KeypointRCNN":
        heads = detection.keypoint_rcnn
        options |= {"num_classes": 2, "keypoint_head": heads.KeypointRCNNHeads(256, (64, 64))}
        options["keypoint_predictor"] = heads.KeypointRCNNPredictor(64, 17)
    result: nn.Module = getattr(detection, name)(backbone, **options)
    return result


def images(height: int = 100, width: int = 130) -> list[torch.Tensor]:
    """Two images, float, shape (3, height, width), values from 0 to 1."""
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(3, height, width, generator=generator) for _ in range(2)]


def _provide_nms() -> None:
    """Give torchvision::nms a kernel where the compiled one did not load."""
    boxes: Any = importlib.import_module("torchvision.ops.boxes")
    if _KERNELS or importlib.import_module("torchvision.extension")._has_ops():
        return
    library = torch.library.Library("torchvision", "IMPL")
    library.impl("nms", _nms, "CPU")
    _KERNELS.append(library)
    boxes._assert_has_ops = lambda: None


def _nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression: boxes (N, 4) and scores (N,), int64 positions kept."""
    order, kept = scores.argsort(descending=True, stable=True), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while order.numel():
        best, rest = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[rest, :2])
        high = torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        common = (high - low).clamp(min=0).prod(1)
        order = rest[common / (areas[best] + areas[rest] - common) <= threshold]
    return torch.stack(kept) if kept else torch.zeros(0, dtype=torch.int64)
