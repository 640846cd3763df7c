"""qubvel/segmentation_models.pytorch: every architecture, and encoders of several families."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import segmentation_models_pytorch as smp
from torch import nn

from benchmarks.zoos.pictures import pictures

ARCHITECTURES = ("Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3",
                 "DeepLabV3Plus", "UPerNet", "Segformer")  # fmt: skip
ENCODERS = ("mobilenet_v2", "efficientnet-b0", "mit_b0", "densenet121", "vgg11_bn", "mobileone_s0",
            "timm-skresnet18", "dpn68", "xception")  # fmt: skip
SIDE = 128


def _network(architecture: str, encoder: str, **options: Any) -> tuple[nn.Module, Any]:
    make = getattr(smp, architecture)
    return make(encoder, encoder_weights=None, **options), pictures(2, 3, SIDE, SIDE)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    **{f"{name}_resnet18": partial(_network, name, "resnet18") for name in ARCHITECTURES},
    **{f"Unet_{name}": partial(_network, "Unet", name) for name in ENCODERS},
    "DPT_vit_tiny": partial(
        _network, "DPT", "tu-vit_tiny_patch16_224", dynamic_img_size=True, decoder_readout="cat"
    ),
    "Unet_attention": partial(_network, "Unet", "resnet18", decoder_attention_type="scse"),
    "Unet_with_classes": partial(_network, "Unet", "resnet18", aux_params={"classes": 4}),
}
