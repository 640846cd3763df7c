"""huggingface/diffusers: networks that denoise pictures, and their autoencoders, in small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers as d
import torch
from torch import nn

from benchmarks.zoos.pictures import pictures

Built = tuple[nn.Module, Any]
STEPS = [5, 9]


def _steps() -> torch.Tensor:
    return torch.tensor(STEPS)


def _unet2d() -> Built:
    model = d.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return model, (pictures(2, 3, 16, 16), _steps())


def _unet2d_scored() -> Built:
    model = d.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        time_embedding_type="fourier",
        resnet_time_scale_shift="scale_shift",
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return model, (pictures(2, 3, 16, 16), _steps())


def _conditioned(**options: Any) -> Built:
    small: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 24,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    model = d.UNet2DConditionModel(**(small | options))
    return model, (pictures(2, 4, 16, 16), _steps(), torch.randn(2, 6, 24))


def _sdxl() -> Built:
    model, inputs = _conditioned(
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
    )
    more = {"text_embeds": torch.randn(2, 32), "time_ids": torch.rand(2, 6) * 9}
    names = ("sample", "timestep", "encoder_hidden_states")
    return model, dict(zip(names, inputs, strict=True)) | {"added_cond_kwargs": more}


def _controlnet() -> Built:
    model = d.ControlNetModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=8,
        conditioning_embedding_out_channels=(8, 16),
    )
    image = pictures(2, 3, 32, 32)
    return model, (pictures(2, 4, 16, 16), _steps(), torch.randn(2, 6, 24), image)


def _unet1d() -> Built:
    model = d.UNet1DModel(
        block_out_channels=(32, 32, 64),
        extra_in_channels=64,
        sample_size=64,
        in_channels=2,
        out_channels=2,
        layers_per_block=1,
    )
    return model, (torch.randn(2, 2, 64), _steps())


def _unet1d_values() -> Built:
    model = d.UNet1DModel(
        block_out_channels=(16, 32, 32),
        in_channels=14,
        out_channels=14,
        time_embedding_type="positional",
        use_timestep_embedding=True,
        flip_sin_to_cos=False,
        freq_shift=1,
        out_block_type="OutConv1DBlock",
        mid_block_type="MidResTemporalBlock1D",
        down_block_types=("DownResnetBlock1D",) * 3,
        up_block_types=("UpResnetBlock1D",) * 2,
        act_fn="swish",
    )
    return model, (torch.randn(2, 14, 32), _steps())


def _unet3d() -> Built:
    model = d.UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=24,
        attention_head_dim=8,
        norm_num_groups=4,
    )
    return model, (torch.randn(2, 4, 3, 8, 8), _steps(), torch.randn(2, 6, 24))


def _video_unet() -> Built:
    model = d.UNetSpatioTemporalConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        num_attention_heads=2,
        cross_attention_dim=24,
        layers_per_block=1,
        projection_class_embeddings_input_dim=24,
        addition_time_embed_dim=8,
    )
    return model, (torch.randn(2, 2, 8, 8, 8), _steps(), torch.randn(2, 1, 24), torch.rand(2, 3))


def _asymmetric() -> Built:
    model = d.AsymmetricAutoencoderKL(
        down_block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_out_channels=(16, 32),
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
    )
    return model, pictures(2, 3, 32, 32)


def _autoencoder(kind: str, **options: Any) -> Built:
    small: dict[str, Any] = {
        "block_out_channels": (16, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 8,
    }
    return getattr(d, kind)(**(small | options)), pictures(2, 3, 32, 32)


def _tiny_autoencoder() -> Built:
    model = d.AutoencoderTiny(
        encoder_block_out_channels=(16, 16, 16),
        decoder_block_out_channels=(16, 16, 16),
        num_encoder_blocks=(1, 2, 1),
        num_decoder_blocks=(2, 1, 1),
        upsampling_scaling_factor=2,
    )
    return model, pictures(2, 3, 32, 32)


def _deep_compression() -> Built:
    model = d.AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(16, 32),
        decoder_block_out_channels=(16, 32),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=1.0,
    )
    return model, pictures(2, 3, 32, 32)


def _dit() -> Built:
    model = d.DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
    )
    return model, {
        "hidden_states": pictures(2, 4, 8, 8),
        "timestep": _steps(),
        "class_labels": torch.tensor([1, 3]),
    }


def _pixart() -> Built:
    model = d.PixArtTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        cross_attention_dim=64,
        caption_channels=24,
        use_additional_conditions=False,
    )
    return model, {
        "hidden_states": pictures(2, 4, 8, 8),
        "encoder_hidden_states": torch.randn(2, 6, 24),
        "timestep": _steps(),
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def _transformer2d() -> Built:
    model = d.Transformer2DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=32,
        num_layers=2,
        cross_attention_dim=24,
        norm_num_groups=8,
    )
    return model, {
        "hidden_states": torch.randn(2, 32, 8, 8),
        "encoder_hidden_states": torch.randn(2, 6, 24),
    }


def _sd3() -> Built:
    model = d.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=24,
        caption_projection_dim=64,
        pooled_projection_dim=32,
        out_channels=4,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    inputs = (pictures(2, 4, 8, 8), torch.randn(2, 6, 24), torch.randn(2, 32), _steps())
    return model, inputs


def _flux() -> Built:
    model = d.FluxTransformer2DModel(
        patch_size=1,
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=24,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
    )
    return model, {
        "hidden_states": torch.randn(2, 16, 4),
        "encoder_hidden_states": torch.randn(2, 6, 24),
        "pooled_projections": torch.randn(2, 32),
        "timestep": torch.rand(2),
        "img_ids": torch.rand(16, 3),
        "txt_ids": torch.zeros(6, 3),
    }


def _sana() -> Built:
    model = d.SanaTransformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=4,
        num_cross_attention_heads=4,
        cross_attention_head_dim=16,
        cross_attention_dim=64,
        caption_channels=24,
    )
    return model, {
        "hidden_states": pictures(2, 4, 8, 8),
        "encoder_hidden_states": torch.randn(2, 6, 24),
        "timestep": _steps(),
    }


def _auraflow() -> Built:
    model = d.AuraFlowTransformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=24,
        caption_projection_dim=64,
        out_channels=4,
        pos_embed_max_size=32,
    )
    return model, (pictures(2, 4, 8, 8), torch.randn(2, 6, 24), torch.rand(2))


def _cogvideo() -> Built:
    model = d.CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=16,
        text_embed_dim=24,
        num_layers=2,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=6,
    )
    return model, {
        "hidden_states": torch.randn(2, 3, 4, 8, 8),
        "encoder_hidden_states": torch.randn(2, 6, 24),
        "timestep": _steps(),
    }


def _wan() -> Built:
    model = d.WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        text_dim=24,
        freq_dim=32,
        ffn_dim=96,
        num_layers=2,
        rope_max_seq_len=32,
    )
    return model, (torch.randn(2, 4, 2, 8, 8), _steps(), torch.randn(2, 6, 24))


def _ltx() -> Built:
    model = d.LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=16,
        cross_attention_dim=64,
        num_layers=2,
        caption_channels=24,
    )
    return model, {
        "hidden_states": torch.randn(2, 2 * 4 * 4, 4),
        "encoder_hidden_states": torch.randn(2, 6, 24),
        "timestep": _steps(),
        "encoder_attention_mask": torch.ones(2, 6),
        "num_frames": 2,
        "height": 4,
        "width": 4,
    }


def _prior() -> Built:
    model = d.PriorTransformer(
        num_attention_heads=4,
        attention_head_dim=16,
        num_layers=2,
        embedding_dim=24,
        num_embeddings=6,
        additional_embeddings=4,
    )
    return model, (torch.randn(2, 24), _steps(), torch.randn(2, 24), torch.randn(2, 6, 24))


def _uvit() -> Built:
    model = d.UVit2DModel(
        hidden_size=32,
        cond_embed_dim=24,
        encoder_hidden_size=24,
        block_out_channels=32,
        num_res_blocks=1,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        micro_cond_encode_dim=8,
        micro_cond_embed_dim=5 * 8,
        vocab_size=40,
        codebook_size=32,
        in_channels=32,
        block_num_heads=4,
        sample_size=8,
    )
    ids = torch.randint(0, 40, (2, 8, 8))
    return model, (ids, torch.randn(2, 6, 24), torch.randn(2, 24), torch.rand(2, 5))


MODELS: dict[str, Callable[[], Built]] = {
    "auraflow": _auraflow,
    "autoencoder_asymmetric": _asymmetric,
    "autoencoder_dc": _deep_compression,
    "autoencoder_kl": lambda: _autoencoder("AutoencoderKL"),
    "autoencoder_tiny": _tiny_autoencoder,
    "cogvideox": _cogvideo,
    "controlnet": _controlnet,
    "dit": _dit,
    "flux": _flux,
    "ltx_video": _ltx,
    "pixart": _pixart,
    "prior": _prior,
    "sana": _sana,
    "sd3": _sd3,
    "transformer2d": _transformer2d,
    "unet1d": _unet1d,
    "unet1d_values": _unet1d_values,
    "unet2d": _unet2d,
    "unet2d_condition": _conditioned,
    "unet2d_condition_sdxl": _sdxl,
    "unet2d_score": _unet2d_scored,
    "unet3d": _unet3d,
    "unet_spatio_temporal": _video_unet,
    "uvit": _uvit,
    "vq_model": lambda: _autoencoder("VQModel", num_vq_embeddings=32),
    "wan": _wan,
}
