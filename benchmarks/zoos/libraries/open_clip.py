"""mlfoundations/open_clip: both towers, with few and narrow layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from open_clip import CLIP, CoCa
from torch import nn

from benchmarks.zoos.pictures import pictures

TEXT = {"context_length": 12, "vocab_size": 100, "width": 64, "heads": 4, "layers": 2}
TRANSFORMER = {"layers": 2, "width": 64, "head_width": 16, "patch_size": 8, "image_size": 32}
RESNET = {"layers": (1, 1, 1, 1), "width": 16, "image_size": 64}
MULTIMODAL = {"context_length": 12, "vocab_size": 100, "width": 64, "heads": 4, "layers": 2}


def _tokens() -> torch.Tensor:
    return torch.randint(1, 99, (2, 12))


def _clip(vision: dict[str, Any], **options: Any) -> tuple[nn.Module, Any]:
    model = CLIP(embed_dim=48, vision_cfg=vision, text_cfg=TEXT | options)
    return model, (pictures(2, 3, vision["image_size"], vision["image_size"]), _tokens())


def _captions() -> tuple[nn.Module, Any]:
    vision = TRANSFORMER | {"attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True}
    text = TEXT | {"embed_cls": True, "output_tokens": True}
    model = CoCa(64, MULTIMODAL, text, vision)
    nn.init.normal_(model.text_decoder.text_projection, std=0.1)  # it comes uninitialised
    return model, (pictures(2, 3, 32, 32), _tokens())


MODELS = {
    "vit": partial(_clip, TRANSFORMER),
    "vit_pooled_last": partial(_clip, TRANSFORMER, pool_type="last", no_causal_mask=True),
    "resnet": partial(_clip, RESNET),
    "vit_layer_scale": partial(_clip, TRANSFORMER | {"ls_init_value": 0.1, "pool_type": "avg"}),
    "coca": _captions,
}
