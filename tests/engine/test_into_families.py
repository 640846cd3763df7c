"""A plan applied to models of torchvision, timm and transformers, built small."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from into_checks import IMAGES, assert_into, image_model
from torch import nn


def residual(models: Any) -> nn.Module:
    return models.resnet.ResNet(models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=10)


def resnext(models: Any) -> nn.Module:
    kind = models.resnet.Bottleneck
    return models.resnet.ResNet(kind, [1, 1, 1, 1], 10, groups=4, width_per_group=16)


def mobile(models: Any) -> nn.Module:
    setting = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]]
    return models.MobileNetV2(10, inverted_residual_setting=setting)


def dense(models: Any) -> nn.Module:
    return models.DenseNet(8, (2, 2), 16, num_classes=10)


def vgg(models: Any) -> nn.Module:
    features = models.vgg.make_layers([16, "M", 32, 32, "M"], batch_norm=True)
    model = models.VGG(features, num_classes=10)
    model.classifier = nn.Sequential(nn.Linear(32 * 49, 32), nn.ReLU(), nn.Linear(32, 10))
    return model


def convnext(models: Any) -> nn.Module:
    block = models.convnext.CNBlockConfig
    return models.ConvNeXt([block(24, 48, 1), block(48, None, 1)], layer_scale=0.5, num_classes=10)


def squeeze(models: Any) -> nn.Module:
    config = models.efficientnet.MBConvConfig
    blocks = [config(1, 3, 1, 16, 16, 1, 1.0, 1.0), config(4, 3, 2, 16, 24, 2, 1.0, 1.0)]
    return models.EfficientNet(blocks, 0.0, num_classes=10)


def swin(models: Any) -> nn.Module:
    return models.SwinTransformer([4, 4], 16, [2, 1], [2, 4], [4, 4], num_classes=10)


def vision(models: Any) -> nn.Module:
    return models.VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=10)


TORCHVISION = (residual, resnext, mobile, dense, vgg, convnext, squeeze, swin, vision)


@pytest.mark.parametrize("make", TORCHVISION, ids=lambda make: make.__name__)
def test_torchvision(make: Any, torchvision_models: Any) -> None:
    model = image_model(make(torchvision_models))
    assert_into(model, torch.randn(2, *IMAGES), plain=make not in (swin, vision))


def test_resnet18_of_torchvision(torchvision_models: Any) -> None:
    assert_into(image_model(torchvision_models.resnet18()), torch.randn(2, *IMAGES))


def test_vit_of_timm(torchvision_models: Any) -> None:
    del torchvision_models  # timm imports torchvision
    timm = pytest.importorskip("timm")
    settings = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_classes": 10}
    model = timm.create_model("vit_tiny_patch16_224", **settings)
    own = assert_into(image_model(model), torch.randn(2, *IMAGES), plain=False, heads="inside")
    assert all(block.attn.head_dim == 8 for block in own.blocks)  # type: ignore[union-attr]


LANGUAGE = {
    "GPT2Model": {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 32},
    "BertModel": {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96},
    "LlamaModel": {
        "hidden_size": 48,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
    },
}


@pytest.mark.parametrize("name", LANGUAGE)
def test_transformers(name: str, torchvision_models: Any) -> None:
    del torchvision_models  # transformers imports torchvision where it is installed
    transformers = pytest.importorskip("transformers")
    settings = {"vocab_size": 99, "use_cache": False, "bos_token_id": 1, "eos_token_id": 2}
    if name != "GPT2Model":
        settings["num_hidden_layers"] = 2
    config = getattr(transformers, name.replace("Model", "Config"))(**settings, **LANGUAGE[name])
    model = getattr(transformers, name)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    own = assert_into(model, torch.randint(0, 99, (3, 9)), heads="whole")
    assert own.config.hidden_size == 48  # type: ignore[union-attr]
