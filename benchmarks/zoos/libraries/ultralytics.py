"""ultralytics: detection, segmentation, poses and classes from its own files, the smallest scale.

The models are what ``YOLO(...).model`` holds: they take pictures and return what the head predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    RTDETRDetectionModel,
    SegmentationModel,
    WorldModel,
)

from benchmarks.zoos.pictures import pictures

FILES: dict[type[nn.Module], str] = {
    DetectionModel: """yolov3-tiny yolov3 yolov5n yolov6n yolov8n yolov8-ghost yolov9t
        yolov9s yolov9c yolov10n yolo11n yolo12n yolo26n yolov8-p2""",
    SegmentationModel: "yolov8n-seg yolo11n-seg yolov9c-seg yolo26n-seg",
    PoseModel: "yolov8n-pose yolo11n-pose yolo26n-pose",
    OBBModel: "yolov8n-obb yolo11n-obb",
    ClassificationModel: "yolov8n-cls yolo11n-cls yolo12n-cls yolov8-cls-resnet50",
    RTDETRDetectionModel: "rtdetr-resnet50 rtdetr-l",
    WorldModel: "yolov8n-worldv2",
}
SIDE = 128


def _network(kind: type[nn.Module], name: str) -> tuple[nn.Module, Any]:
    return kind(f"{name}.yaml", verbose=False), pictures(2, 3, SIDE, SIDE)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    name: partial(_network, kind, name) for kind, names in FILES.items() for name in names.split()
}
