"""kornia: networks that find, describe and match points and lines, and its models."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import kornia.feature as kf
import torch
from kornia.feature.dedode.dedode_models import get_descriptor, get_detector
from kornia.feature.disk._unets import Unet
from kornia.feature.keynet import keynet_default_config
from kornia.feature.loftr.loftr import default_cfg
from kornia.feature.sold2.backbones import SOLD2Net
from kornia.feature.xfeat import XFeatModel
from kornia.models.dexined import DexiNed
from kornia.models.efficient_vit.backbone import efficientvit_backbone_b0
from kornia.models.rrdbnet import RRDBNet
from kornia.models.rt_detr.model import RTDETR, RTDETRConfig, RTDETRModelType
from kornia.models.small_sr import SmallSRNet
from kornia.models.tiny_vit import TinyViT
from kornia.models.vit import VisionTransformer
from kornia.models.vit_mobile import MobileViT
from kornia.models.yunet.model import YuNet
from torch import nn

from benchmarks.zoos.pictures import pictures

Built = tuple[nn.Module, Any]


def _descriptor(kind: Callable[..., nn.Module]) -> Built:
    return kind(pretrained=False), pictures(4, 1, 32, 32)


def _keynet() -> Built:
    return kf.KeyNet(False, keynet_default_config), pictures(2, 1, 64, 64)


def _sold2() -> Built:
    hourglass = {"input_channel": 1, "depth": 4, "num_stacks": 1, "num_blocks": 1, "num_classes": 5}
    return SOLD2Net({"backbone_cfg": hourglass, "grid_size": 8}), pictures(2, 1, 64, 64)


def _loftr() -> Built:
    model = kf.LoFTR(pretrained=None, config=default_cfg)
    return model, ({"image0": pictures(1, 1, 64, 64), "image1": pictures(1, 1, 64, 64)},)


def _detr() -> Built:
    config = RTDETRConfig(RTDETRModelType.resnet18d, num_classes=8)
    return RTDETR.from_config(config), pictures(2, 3, 128, 128)


def _lightglue() -> Built:
    model = kf.LightGlue(features=None, input_dim=64, descriptor_dim=64, num_heads=2, n_layers=2,
                         depth_confidence=-1, width_confidence=-1, filter_threshold=0)  # fmt: skip
    points = {
        name: {
            "keypoints": torch.rand(1, 16, 2) * 63,
            "descriptors": torch.randn(1, 16, 64),
            "image_size": torch.tensor([[64, 64]]),
        }
        for name in ("image0", "image1")
    }
    return model, (points,)


MODELS: dict[str, Callable[[], Built]] = {
    **{
        kind.__name__.lower(): partial(_descriptor, kind)
        for kind in (kf.HardNet, kf.HardNet8, kf.HyNet, kf.SOSNet, kf.TFeat, kf.OriNet)
    },
    "affnet": lambda: (kf.LAFAffNetShapeEstimator(False).features, pictures(4, 1, 32, 32)),
    "dedode_descriptor": lambda: (get_descriptor("B", torch.float32), pictures(1, 3, 64, 64)),
    "dedode_detector": lambda: (get_detector("L", torch.float32), pictures(1, 3, 64, 64)),
    "defmo": lambda: (kf.DeFMO(False), pictures(1, 6, 64, 64)),
    "dexined": lambda: (DexiNed(pretrained=False), pictures(2, 3, 64, 64)),
    "disk_unet": lambda: (
        Unet(3, down=[16, 32, 64, 64, 64], up=[64, 64, 64, 129]),
        pictures(2, 3, 64, 64),
    ),
    "efficientvit_b0": lambda: (efficientvit_backbone_b0(), pictures(2, 3, 64, 64)),
    "keynet": _keynet,
    "lightglue": _lightglue,
    "loftr": _loftr,
    "mobilevit_xxs": lambda: (MobileViT(mode="xxs"), pictures(2, 3, 256, 256)),
    "rrdbnet": lambda: (RRDBNet(3, 3, 4, 32, 2, 16), pictures(1, 3, 32, 32)),
    "rtdetr_resnet18": _detr,
    "small_sr": lambda: (SmallSRNet(2, pretrained=False), pictures(2, 1, 32, 32)),
    "sold2": _sold2,
    "tiny_vit_5m": lambda: (TinyViT.from_config("5m"), pictures(2, 3, 224, 224)),
    "vit": lambda: (
        VisionTransformer(image_size=64, patch_size=16, embed_dim=64, depth=2, num_heads=4),
        pictures(2, 3, 64, 64),
    ),
    "yunet": lambda: (YuNet("test", pretrained=False), pictures(2, 3, 128, 128)),
    "xfeat": lambda: (XFeatModel(), pictures(2, 3, 64, 64)),
}
