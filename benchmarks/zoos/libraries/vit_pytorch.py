"""vit_pytorch: each of its vision transformers once, small."""

from __future__ import annotations

import importlib
from typing import Any

import torch
import vit_pytorch
from torch import nn

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures

SIDE, BATCH, CLASSES, CHANNELS, FRAMES = 32, 4, 10, 3, 4
SIZES: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "dim_head": 8, "num_classes": CLASSES}
WITH_MLP = SIZES | {"mlp_dim": 48}
PICTURE = WITH_MLP | {"image_size": SIDE, "patch_size": 8}
CLIP = WITH_MLP | {"image_size": SIDE, "image_patch_size": 8, "frames": 4, "frame_patch_size": 2}
SERIES = WITH_MLP | {"seq_len": 64, "patch_size": 8}
ANY_DIMENSIONS = WITH_MLP | {"ndim": 2, "input_shape": SIDE, "patch_size": 8}


def _made(module: str, name: str, options: dict[str, Any], shape: tuple[int, ...]) -> Builder:
    """A builder of a class of vit_pytorch, for one random input of ``shape``."""

    def build() -> tuple[nn.Module, Any]:
        cls = getattr(importlib.import_module(f"{vit_pytorch.__name__}.{module}"), name)
        inputs = pictures(*shape) if len(shape) > len("BCL") else torch.randn(shape)
        return cls(**options), inputs

    return build


def _picture(module: str, name: str = "ViT", /, **options: Any) -> Builder:
    return _made(module, name, PICTURE | options, (BATCH, CHANNELS, SIDE, SIDE))


def _own(module: str, name: str, side: int = SIDE, /, **options: Any) -> Builder:
    """A class with options of its own."""
    return _made(module, name, {"num_classes": CLASSES} | options, (BATCH, CHANNELS, side, side))


def _clip(module: str, name: str, /, **options: Any) -> Builder:
    shape = (2, CHANNELS, FRAMES, SIDE, SIDE)
    return _made(module, name, {**CLIP, **options}, shape)


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in names}


def _efficient() -> tuple[nn.Module, Any]:
    from linformer import Linformer
    from vit_pytorch.efficient import ViT

    transformer = Linformer(dim=32, seq_len=17, depth=2, heads=4, k=8)
    model = ViT(image_size=SIDE, patch_size=8, num_classes=CLASSES, dim=32, transformer=transformer)
    return model, pictures(BATCH, CHANNELS, SIDE, SIDE)


def _adapted() -> tuple[nn.Module, Any]:
    from vit_pytorch.learnable_memory_vit import Adapter, ViT

    model = Adapter(vit=ViT(**PICTURE), num_memories_per_layer=4, num_classes=CLASSES)
    return model, pictures(BATCH, CHANNELS, SIDE, SIDE)


def _extractor() -> tuple[nn.Module, Any]:
    from vit_pytorch.extractor import Extractor
    from vit_pytorch.vit import ViT

    return Extractor(ViT(**PICTURE)), pictures(BATCH, CHANNELS, SIDE, SIDE)


def _recorder() -> tuple[nn.Module, Any]:
    from vit_pytorch.recorder import Recorder
    from vit_pytorch.vit import ViT

    return Recorder(ViT(**PICTURE)), pictures(BATCH, CHANNELS, SIDE, SIDE)


def _for_video() -> tuple[nn.Module, Any]:
    from vit_pytorch.accept_video_wrapper import AcceptVideoWrapper
    from vit_pytorch.vit import ViT

    model = AcceptVideoWrapper(
        ViT(**PICTURE), add_time_pos_emb=True, time_seq_len=FRAMES, dim_emb=CLASSES
    )
    return model, pictures(2, CHANNELS, FRAMES, SIDE, SIDE)


def _images_of_two_sizes() -> tuple[nn.Module, Any]:
    from vit_pytorch.na_vit import NaViT

    images = [pictures(1, CHANNELS, SIDE, width)[0] for width in (SIDE, SIDE // 2)]
    return NaViT(**PICTURE), (images,)


def _distilled() -> tuple[nn.Module, Any]:
    from vit_pytorch.distill import DistillableViT

    token = torch.randn(1, 32)
    return DistillableViT(**PICTURE), (pictures(BATCH, CHANNELS, SIDE, SIDE), token)


def _masked(name: str, module: str, **options: Any) -> Builder:
    """A pretext task around a transformer; its output is a loss."""

    def build() -> tuple[nn.Module, Any]:
        from vit_pytorch.vit import ViT

        cls = getattr(importlib.import_module(f"{vit_pytorch.__name__}.{module}"), name)
        return cls(encoder=ViT(**PICTURE, pool="mean"), **options), pictures(
            BATCH, CHANNELS, SIDE, SIDE
        )

    return build


ACTOR: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "dim_head": 8, "mlp_dim": 48}
ACTOR |= {"dim_action": 5, "action_chunk_len": 3, "self_attn_heads": 2, "self_attn_dim_head": 8}


def _vision_action() -> tuple[nn.Module, Any]:
    from vit_pytorch.vat import VAT, ViT

    return VAT(ViT(**PICTURE), **ACTOR, num_views=2), pictures(2, 2, CHANNELS, SIDE, SIDE)


def _vision_action_siglip() -> tuple[nn.Module, Any]:
    from vit_pytorch.vat_siglip import SigLIPVAT

    model = SigLIPVAT(
        **ACTOR,
        siglip_image_size=SIDE,
        siglip_patch_size=8,
        siglip_dim=32,
        siglip_depth=2,
        siglip_heads=4,
        siglip_mlp_dim=48,
    )
    return model, pictures(BATCH, 1, CHANNELS, SIDE, SIDE)


CROSS = {"sm_dim": 24, "lg_dim": 32, "sm_patch_size": 4, "lg_patch_size": 8, "depth": 1}
CROSS |= {"sm_enc_heads": 2, "lg_enc_heads": 4, "cross_attn_heads": 2, "lg_enc_depth": 1}
CROSS |= {f"{part}_dim_head": 8 for part in ("sm_enc", "lg_enc", "cross_attn")}
CROSS |= {"sm_enc_mlp_dim": 48, "lg_enc_mlp_dim": 48, "image_size": SIDE}
CVT = {"s1_emb_dim": 16, "s2_emb_dim": 24, "s3_emb_dim": 32, "s2_heads": 2, "s3_heads": 2}
CCT: dict[str, Any] = {"img_size": SIDE, "embedding_dim": 32, "num_layers": 2, "num_heads": 4}
CCT |= {"mlp_ratio": 2.0, "kernel_size": 3, "n_conv_layers": 2}
STAGES = {"dim": (32, 32, 64, 64), "depth": (1, 1, 1, 1)}
TWINS = {f"s{n}_emb_dim": dim for n, dim in enumerate((16, 16, 32, 32), 1)}
TWINS |= {f"s{n}_local_patch_size": size for n, size in enumerate((4, 4, 2, 1), 1)}
GLOBAL = {"s1_global_k": 4, "s2_global_k": 4, "s3_global_k": 2, "s4_global_k": 2}
TWINS |= {"s3_depth": 1, "s4_depth": 1}
MAXVIT = {"dim": 16, "depth": (1, 1), "dim_head": 8, "dim_conv_stem": 16, "window_size": 4}
NEST = {"dim": 24, "heads": 3, "num_hierarchies": 3, "block_repeats": (1, 1, 2), "dim_head": 8}
MOBILE: dict[str, Any] = {"image_size": (64, 64), "dims": [24, 32, 40], "depths": (1, 1, 1)}
MOBILE |= {"channels": [8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 32], "num_classes": CLASSES}

VIDEO = _without(CLIP, "depth") | {"spatial_depth": 1, "temporal_depth": 1}
FILM = (2, CHANNELS, FRAMES, SIDE, SIDE)

MODELS: dict[str, Builder] = {
    "vit": _picture("vit"),
    "vit_mean": _picture("vit", pool="mean"),
    "ats": _picture("ats_vit", max_tokens_per_depth=(8, 6)),
    "attn_residual_dca": _picture("attn_residual_with_dca_simple_vit", "SimpleViT"),
    "cait": _picture("cait", "CaiT", cls_depth=1),
    "cct": _own("cct", "CCT", **CCT),
    "cct_3d": _made(
        "cct_3d",
        "CCT",
        CCT | {"num_frames": FRAMES, "num_classes": CLASSES},
        (2, CHANNELS, FRAMES, SIDE, SIDE),
    ),
    "crossvit": _own("cross_vit", "CrossViT", **CROSS),
    "crossformer": _own(
        "crossformer",
        "CrossFormer",
        64,
        **STAGES,
        global_window_size=(4, 2, 2, 1),
        local_window_size=2,
    ),
    "cvt": _own("cvt", "CvT", 64, **CVT, s3_depth=1, s2_depth=1),
    "deepvit": _picture("deepvit", "DeepViT"),
    "distillable": _distilled,
    "efficient_linformer": _efficient,
    "extractor": _extractor,
    "recorder": _recorder,
    "video_wrapper": _for_video,
    "jet": _picture("jet_vit", "JetViT", window_size=4),
    "jumbo": _picture("jumbo_vit", "JumboViT", jumbo_cls_k=2),
    "memory_adapter": _adapted,
    "levit": _own(
        "levit",
        "LeViT",
        64,
        image_size=64,
        dim=(16, 24, 32),
        depth=1,
        heads=(2, 2, 4),
        mlp_mult=2,
        dim_key=8,
        dim_value=8,
    ),
    "look": _own(
        "look_vit",
        "LookViT",
        48,
        dim=32,
        image_size=48,
        depth=2,
        patch_size=12,
        heads=4,
        dim_head=8,
        highres_patch_size=8,
        cross_attn_heads=4,
        cross_attn_dim_head=8,
        patch_conv_kernel_size=3,
    ),
    "looped": _own(
        "looped_vit",
        "LoopedViT",
        **_without(PICTURE, "depth", "num_classes"),
        pre_loop_depth=1,
        num_looped_blocks=1,
        post_loop_depth=1,
        loop_depth=2,
    ),
    "mae": _masked("MAE", "mae", decoder_dim=24, decoder_heads=2, decoder_dim_head=8),
    "maxvit": _own("max_vit", "MaxViT", **MAXVIT),
    "maxvit_registers": _own("max_vit_with_registers", "MaxViT", **MAXVIT),
    "mobile": _made("mobile_vit", "MobileViT", MOBILE, (BATCH, CHANNELS, 64, 64)),
    "mp3": _picture("mp3"),
    "navit": _images_of_two_sizes,
    "nest": _own("nest", "NesT", image_size=SIDE, patch_size=2, **NEST),
    "normalized": _picture("normalized_vit", "nViT"),
    "parallel": _picture("parallel_vit"),
    "pit": _picture("pit", "PiT", depth=(1, 1, 1), heads=2),
    "region": _own("regionvit", "RegionViT", 64, **STAGES, window_size=2, use_peg=True),
    "rvt": _picture("rvt", "RvT"),
    "scalable": _own(
        "scalable_vit",
        "ScalableViT",
        64,
        dim=16,
        heads=(2, 2, 2, 2),
        depth=(1, 1, 1, 1),
        ssa_dim_key=(8, 8, 8, 8),
        ssa_dim_value=8,
        reduction_factor=(4, 4, 2, 1),
        window_size=(8, 4, None, None),
        iwsa_dim_key=8,
        iwsa_dim_value=8,
    ),
    "sep": _own(
        "sep_vit",
        "SepViT",
        112,
        dim=16,
        heads=(1, 2, 4),
        depth=(1, 1, 1),
        window_size=4,
        dim_head=8,
    ),
    "flash": _picture("simple_flash_attn_vit", "SimpleViT"),
    "flash_3d": _clip("simple_flash_attn_vit_3d", "SimpleViT"),
    "simple": _picture("simple_vit", "SimpleViT"),
    "simple_1d": _made("simple_vit_1d", "SimpleViT", SERIES, (BATCH, CHANNELS, 64)),
    "simple_3d": _clip("simple_vit_3d", "SimpleViT"),
    "attn_residual": _picture("simple_vit_attn_residual", "SimpleViTAttnResidual"),
    "orthogonal_update": _picture("simple_vit_orthog_residual_update", "SimpleViT"),
    "uvit": _picture("simple_uvit", "SimpleUViT", depth=4),
    "fft": _picture("simple_vit_with_fft", "SimpleViT", freq_patch_size=8),
    "hyper_connections": _picture(
        "simple_vit_with_hyper_connections", "SimpleViT", num_residual_streams=3
    ),
    "simple_patch_dropout": _picture("simple_vit_with_patch_dropout", "SimpleViT"),
    "qk_norm": _picture("simple_vit_with_qk_norm", "SimpleViT"),
    "registers": _picture("simple_vit_with_register_tokens", "SimpleViT"),
    "relative_projected": _picture("simple_vit_with_relative_proj_pos_bias", "SimpleViT"),
    "sparse_gating": _picture("simple_vit_with_sparse_gating", "SimpleViTWithSparseGating"),
    "specialised_cls": _picture("simple_vit_with_specialized_cls", "SimpleViT"),
    "value_residual": _picture("simple_vit_with_value_residual", "SimpleViT"),
    "t2t": _own(
        "t2t",
        "T2TViT",
        image_size=SIDE,
        **_without(WITH_MLP, "num_classes"),
        t2t_layers=((3, 2), (3, 2)),
    ),
    "twins": _own("twins_svt", "TwinsSVT", 64, **TWINS, **GLOBAL),
    "action": _vision_action,
    "siglip_action": _vision_action_siglip,
    "1d": _made("vit_1d", "ViT", SERIES, (BATCH, CHANNELS, 64)),
    "3d": _clip("vit_3d", "ViT"),
    "5": _picture("vit_5"),
    "detpool": _picture("vit_detpool", "ViTDetPool"),
    "small_dataset": _picture("vit_for_small_dataset"),
    "nd": _made("vit_nd", "ViTND", ANY_DIMENSIONS, (BATCH, CHANNELS, SIDE, SIDE)),
    "nd_causal": _made(
        "vit_nd", "ViTND", ANY_DIMENSIONS | {"causal_dims": 1}, (BATCH, CHANNELS, SIDE, SIDE)
    ),
    "nd_pope": _made("vit_nd_pope", "ViTND", ANY_DIMENSIONS, (BATCH, CHANNELS, SIDE, SIDE)),
    "nd_rotary": _made("vit_nd_rotary", "ViTND", ANY_DIMENSIONS, (BATCH, CHANNELS, SIDE, SIDE)),
    "decorrelated": _picture("vit_with_decorr"),
    "keel": _picture("vit_with_keel_post_ln"),
    "patch_dropout": _picture("vit_with_patch_dropout"),
    "patch_merger": _picture("vit_with_patch_merger", patch_merge_num_tokens=4),
    "vivit": _made("vivit", "ViViT", VIDEO, FILM),
    "vivit_factorised_attention": _made(
        "vivit", "ViViT", VIDEO | {"variant": "factorized_self_attention"}, FILM
    ),
    "vivit_moss": _made("vivit_with_moss", "ViViT", VIDEO | {"moss_hidden_dim": 16}, FILM),
    "wwt": _picture("wwt", "WWT", num_slots=8),
    "xcit": _picture("xcit", "XCiT", cls_depth=1),
}
