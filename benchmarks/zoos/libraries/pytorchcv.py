"""osmr/pytorchcv: the smallest member of each family, at the size that it was made for.

Networks for street scenes get smaller pictures, as all of their layers can be applied to any size.
Left out are families that differ from another in widths alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pytorchcv.model_provider import get_model
from torch import nn

from benchmarks.zoos.pictures import pictures

Size = tuple[int, int]
Built = tuple[nn.Module, Any]

CIFAR = (32, 32)
IMAGENET = (224, 224)
LARGE = (299, 299)
SCENE = (128, 256)

PICTURES: dict[Size, str] = {
    CIFAR: """densenet40_k12_bc_cifar10 diapreresnet20_cifar10 diaresnet20_cifar10
        fractalnet_cifar10 msdnet22_cifar10 nin_cifar10 resdropresnet20_cifar10 rir_cifar10
        ror3_56_cifar10 shakedropresnet20_cifar10 shakeshakeresnet20_2x16d_cifar10
        wrn20_10_1bit_cifar10 xdensenet40_2_k24_bc_cifar10""",
    IMAGENET: """airnet50_1x64d_r16 airnext50_32x4d_r2 alexnetb bagnet9 bam_resnet18 bninception
        cbam_resnet18 channelnet darknet_tiny darknet53 darts densenet121
        dicenet_wd5 diracnet18v2 dla46xc dpn68 drnd22 efficientnet_b0 efficientnet_edge_small_b
        espnetv2_wd2 fastseresnet101b fbnet_cb fdmobilenet_wd4 fishnet99 ghostnet hardnet39ds
        hrnet_w18_small_v1 ibnb_resnet50 ibn_densenet121 ibn_resnet50 ibn_resnext50_32x4d igcv3_wd4
        irevnet301 isqrtcovresnet18 menet108_8x1_g3 mixnet_s mnasnet_small mobilenet_wd4
        mobilenetb_wd4 mobilenetv2b_wd4 mobilenetv3_small_w7d20 nasnet_4a1056 octresnet10_ad2
        peleenet preresnet18_wd4 proxylessnas_mobile pyramidnet101_a360 regnetx002 resattnet56
        resnestabc14 resnet18_wd4 resneta10 resnetd50b resnext14_32x2d revnet38 scnet50 selecsls42
        senet16 sepreresnet10 seresnet10 seresnext50_32x4d sharesnet18 shufflenet_g1_wd4
        shufflenetv2_wd2 shufflenetv2b_wd2 sknet50 sparsenet121 spnasnet squeezenet_v1_1 sqnxt23_w1
        tresnet_m vgg11 vovnet27s wrn50_2 zfnet""",
    LARGE: "inceptionresnetv1 inceptionresnetv2 inceptionv3 inceptionv4 xception",
    (331, 331): "pnasnet5large polynet",
    (256, 192): """alphapose_fastseresnet101b_coco simplepose_resnet18_coco
        simplepose_mobile_mobilenetv3_small_w1_coco""",
    (128, 128): """bisenet_resnet18_celebamaskhq centernet_resnet18_voc lffd20x5s320v2_widerface
        lwopenpose2d_mobilenet_cmupan_coco""",
    (256, 256): "ibppose_coco prnet",
    (448, 448): "ntsnet_cub",
    (96, 96): "danet_resnetd50b_cityscapes deeplabv3_resnetd50b_voc fcn8sd_resnetd50b_voc "
    "pspnet_resnetd50b_voc",
    SCENE: """cgnet_cityscapes ctxnet_cityscapes dabnet_cityscapes edanet_cityscapes enet_cityscapes
        erfnet_cityscapes esnet_cityscapes espcnet_cityscapes fastscnn_cityscapes fpenet_cityscapes
        icnet_resnetd50b_cityscapes lednet_cityscapes linknet_cityscapes segnet_cityscapes
        sinet_cityscapes sqnet_cityscapes unet_cityscapes""",
}
ANY_SIZE = {(128, 128), (96, 96), SCENE}
"""Sizes that are not the networks' own."""
FIXED = ("lffd20x5s320v2_widerface",)
"""Those that take no argument for their size."""


def _picture(name: str, size: Size) -> Built:
    resized = {"in_size": size} if size in ANY_SIZE and name not in FIXED else {}
    return get_model(name, **resized), pictures(2, 3, *size)


def _speech(name: str, features: int) -> Built:
    model = get_model(name, in_channels=features, from_audio=False)
    return model, (torch.randn(2, features, 96), torch.tensor([96, 80]))


def _flow() -> Built:
    return get_model("raft_small"), (pictures(1, 3, 128, 128), pictures(1, 3, 128, 128))


def _condensed() -> Built:
    """Fresh, it would read one channel everywhere: which ones it reads is learned."""
    model = get_model("condensenet74_c8_g8")
    for module in model.modules():
        index = getattr(module, "index", None)
        if isinstance(index, torch.Tensor):
            width = index.numel() * (2 if hasattr(module, "linear") else 1)
            index.copy_(torch.randperm(width)[: index.numel()])
    return model, pictures(2, 3, *IMAGENET)


def _points() -> Built:
    return get_model("superpointnet"), pictures(1, 1, 64, 96)


def _voca() -> Built:
    return get_model("voca8flame"), (torch.randn(2, 1, 16, 29), torch.tensor([3, 1]))


def _visemes() -> Built:
    return get_model("visemenet20"), (torch.randn(34, 8, 195), torch.full((34, 76), 3))


def _faces() -> Built:
    return get_model("nvpattexp116bazel76"), (torch.randn(2, 8, 16, 29), torch.tensor([3, 1]))


def _gray() -> Built:
    return get_model("pfpcnet"), pictures(2, 1, 320, 240)


MODELS: dict[str, Callable[[], Built]] = {
    name: partial(_picture, name, size)
    for size, names in PICTURES.items()
    for name in names.split()
} | {
    "condensenet74_c8_g8": _condensed,
    "jasper5x3": partial(_speech, "jasper5x3", 64),
    "jasperdr10x5_en": partial(_speech, "jasperdr10x5_en", 64),
    "nvpattexp116bazel76": _faces,
    "pfpcnet": _gray,
    "quartznet5x5_en_ls": partial(_speech, "quartznet5x5_en_ls", 64),
    "raft_small": _flow,
    "superpointnet": _points,
    "visemenet20": _visemes,
    "voca8flame": _voca,
}
