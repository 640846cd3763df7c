"""chaiNNer-org/spandrel: networks that enlarge and restore pictures, with few blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import spandrel.architectures as architectures
from torch import nn

from benchmarks.zoos.pictures import pictures

WINDOWS: dict[str, Any] = {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2], "img_size": 32}
ENLARGE: dict[str, Any] = {"upscale": 2, "upsampler": "pixelshuffle"}

# What is given instead of the default, by folder and class; the class's name where none is said.
OPTIONS: dict[str, dict[str, Any]] = {
    "ATD": WINDOWS | ENLARGE | {"category_size": 64, "num_tokens": 16},
    "CRAFT": {"embed_dim": 24, "depths": [1, 1], "num_heads": [4, 4], "upscale": 2},
    "Compact": {"num_feat": 32, "num_conv": 4},
    "DAT": {"embed_dim": 24, "depth": [2, 2], "num_heads": [2, 2], "img_size": 32},
    "DCTLSA": {"nf": 20, "num_modules": 6, "num_head": 4},
    "DITN": {"dim": 24, "ITL_blocks": 1, "SAL_blocks": 1},
    "DRCT": WINDOWS | ENLARGE | {"window_size": 8, "gc": 8},
    "DRUNet": {"nc": [16, 32, 48, 64], "nb": 1},
    "DnCNN": {"nc": 32, "nb": 5},
    "ESRGAN": {"num_filters": 32, "num_blocks": 2},
    "FBCNN": {"nc": [16, 32, 48, 512], "nb": 1},
    "FDAT": {"embed_dim": 24, "num_groups": 2, "depth_per_group": 1, "mid_dim": 16},
    "FFTformer": {"dim": 16, "num_blocks": [1, 1, 1], "num_refinement_blocks": 1},
    "GRL": {
        "embed_dim": 24,
        "depths": [2, 2],
        "num_heads_window": [2, 2],
        "num_heads_stripe": [2, 2],
        "img_size": 32,
        "upscale": 2,
        "upsampler": "pixelshuffle",
    },
    "HAT": WINDOWS | ENLARGE | {"window_size": 8, "num_feat": 16, "squeeze_factor": 4},
    "HVICIDNet": {"channels": [12, 12, 24, 48]},
    "KBNet.KBNet_s": {
        "width": 16,
        "middle_blk_num": 1,
        "enc_blk_nums": [1, 1],
        "dec_blk_nums": [1, 1],
    },
    "LaMa": {"in_nc": 4},
    "MixDehazeNet": {},
    "MoESR": {"dim": 32, "n_blocks": 1, "n_block": 1},
    "MoSR": {"dim": 32, "n_block": 2},
    "NAFNet": {"width": 8, "enc_blk_nums": [1, 1], "dec_blk_nums": [1, 1]},
    "OmniSR": {"num_feat": 32},
    "PLKSR.PLKSR": {"dim": 32, "n_blocks": 2},
    "PLKSR.RealPLKSR": {"dim": 32, "n_blocks": 2, "dysample": True},
    "RCAN": {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 32},
    "RGT": {"embed_dim": 64, "depth": [2, 2], "num_heads": [2, 2], "img_size": 32},
    "RealCUGAN.UpCunet2x": {},
    "RetinexFormer": {"n_feat": 16, "stage": 1},
    "SAFMN": {"dim": 24, "n_blocks": 2},
    "SCUNet": {"config": [1, 1, 1, 1, 1, 1, 1], "dim": 64, "input_resolution": 64},
    "SPAN": {"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 32},
    "SwiftSRGAN": {"num_channels": 24, "num_blocks": 2},
    "Swin2SR": WINDOWS | ENLARGE | {"window_size": 8},
    "SwinIR": WINDOWS | ENLARGE | {"window_size": 8},
    "Uformer": {"img_size": 64, "embed_dim": 8, "depths": [1] * 9},
}
CHANNELS = {"DnCNN": 1, "DRUNet": 1}
SIDES = {
    "DRUNet": 64,
    "LaMa": 64,
    "MixDehazeNet": 96,
    "SCUNet": 64,
    "Uformer": 64,
    "RealCUGAN.UpCunet2x": 64,
}
SIDE = 32
COLOURS = ("HVICIDNet",)
"""Those that reckon with colours, from 0 to 1."""


def _network(name: str, options: dict[str, Any]) -> tuple[nn.Module, Any]:
    folder, _, kind = name.partition(".")
    made: nn.Module = getattr(import_module(f"{architectures.__name__}.{folder}"), kind or folder)(
        **options
    )
    side = SIDES.get(name, SIDE)
    image = pictures(2, CHANNELS.get(name, 3), side, side)
    if name in COLOURS:
        image = image.sigmoid()
    return made, (image, (image[:, :1] > 0).float()) if name == "LaMa" else image


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    name.lower().replace(".", "_"): partial(_network, name, options)
    for name, options in OPTIONS.items()
}
