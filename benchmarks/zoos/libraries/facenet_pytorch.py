"""timesler/facenet-pytorch: the network that embeds faces, and those of the detector."""

from __future__ import annotations

from typing import Any

from facenet_pytorch import InceptionResnetV1
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch import nn

from benchmarks.zoos.pictures import pictures


def _embedding() -> tuple[nn.Module, Any]:
    return InceptionResnetV1(pretrained=None), pictures(2, 3, 96, 96)


def _classes() -> tuple[nn.Module, Any]:
    model = InceptionResnetV1(pretrained=None, classify=True, num_classes=20)
    return model, pictures(2, 3, 96, 96)


MODELS = {
    "inception_resnet_v1": _embedding,
    "inception_resnet_v1_classify": _classes,
    "pnet": lambda: (PNet(pretrained=False), pictures(2, 3, 48, 48)),
    "rnet": lambda: (RNet(pretrained=False), pictures(2, 3, 24, 24)),
    "onet": lambda: (ONet(pretrained=False), pictures(2, 3, 48, 48)),
}
