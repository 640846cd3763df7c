"""x_transformers: one transformer for each of its options, and its encoder-decoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from x_transformers import (
    ContinuousTransformerWrapper,
    CrossAttender,
    Decoder,
    Encoder,
    TransformerWrapper,
    ViTransformerWrapper,
    XTransformer,
)
from x_transformers.multi_input import MultiInputTransformerWrapper
from x_transformers.neo_mlp import NeoMLP
from x_transformers.xval import XValTransformerWrapper

from benchmarks.zoos.libraries import Builder
from benchmarks.zoos.pictures import pictures

WORDS, LENGTH, BATCH = 64, 16, 4
SIZES: dict[str, Any] = {"dim": 32, "depth": 2, "heads": 4, "attn_dim_head": 8}


def _tokens() -> torch.Tensor:
    return torch.randint(0, WORDS, (BATCH, LENGTH))


def _language(layers: type[nn.Module], wrapper: dict[str, Any], options: dict[str, Any]) -> Builder:
    """Tokens to logits, with options of the layers and of the wrapper around them."""

    def build() -> tuple[nn.Module, Any]:
        attention = layers(**(SIZES | options))
        model = TransformerWrapper(
            num_tokens=WORDS, max_seq_len=LENGTH, attn_layers=attention, **wrapper
        )
        return model, _tokens()

    return build


def _decoder(**options: Any) -> Builder:
    return _language(Decoder, {}, options)


def _encoder(**options: Any) -> Builder:
    return _language(Encoder, {}, options)


def _wrapped(**wrapper: Any) -> Builder:
    return _language(Encoder, wrapper, {})


def _encoder_decoder(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        sides = {
            f"{side}_{key}": value
            for side in ("enc", "dec")
            for key, value in {
                "num_tokens": WORDS,
                "max_seq_len": LENGTH,
                "depth": 2,
                "heads": 4,
                "attn_dim_head": 8,
            }.items()
        }
        return XTransformer(dim=32, **(sides | options)), (_tokens(), _tokens())

    return build


def _pictures() -> tuple[nn.Module, Any]:
    model = ViTransformerWrapper(
        image_size=32, patch_size=8, num_classes=10, attn_layers=Encoder(**SIZES)
    )
    return model, pictures(BATCH, 3, 32, 32)


def _series(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        model = ContinuousTransformerWrapper(
            dim_in=12, dim_out=6, max_seq_len=LENGTH, attn_layers=Encoder(**SIZES), **options
        )
        return model, torch.randn(BATCH, LENGTH, 12)

    return build


def _cross() -> tuple[nn.Module, Any]:
    model = CrossAttender(**SIZES)
    args = (torch.randn(BATCH, LENGTH, 32),)
    return model, (args, {"context": torch.randn(BATCH, 2 * LENGTH, 32)})


def _conditioned(**options: Any) -> Builder:
    """Norms whose scale comes from a second input."""

    def build() -> tuple[nn.Module, Any]:
        layers = Decoder(**SIZES, dim_condition=24, **options)
        model = TransformerWrapper(num_tokens=WORDS, max_seq_len=LENGTH, attn_layers=layers)
        return model, ((_tokens(),), {"condition": torch.randn(BATCH, 24)})

    return build


def _many_inputs() -> tuple[nn.Module, Any]:
    words = {"note": 24, "pitch": 32, "tone": 16}
    model = MultiInputTransformerWrapper(
        num_tokens=words, max_seq_len=LENGTH, attn_layers=Decoder(**SIZES)
    )
    return model, ({name: torch.randint(0, n, (BATCH, LENGTH)) for name, n in words.items()},)


def _numbers() -> tuple[nn.Module, Any]:
    model = XValTransformerWrapper(
        num_tokens=WORDS, numerical_token_id=3, max_seq_len=LENGTH, attn_layers=Decoder(**SIZES)
    )
    return model, (_tokens(), torch.randn(BATCH, LENGTH))


def _recycled() -> tuple[nn.Module, Any]:
    model = TransformerWrapper(
        num_tokens=WORDS, max_seq_len=LENGTH, attn_layers=Encoder(**SIZES), recycling=True
    )
    return model, ((_tokens(),), {"recycle_steps": 2})


def _neo() -> tuple[nn.Module, Any]:
    model = NeoMLP(dim_in=6, dim_hidden=10, dim_out=5, dim_model=32, depth=2)
    return model, torch.randn(BATCH, 6)


MODELS: dict[str, Builder] = {
    "encoder": _encoder(),
    "decoder": _decoder(),
    "encoder_decoder": _encoder_decoder(),
    "encoder_decoder_tied": _encoder_decoder(tie_token_emb=True),
    "encoder_decoder_rotary": _encoder_decoder(enc_rotary_pos_emb=True, dec_rotary_pos_emb=True),
    "cross_attender": _cross,
    "vision": _pictures,
    "continuous": _series(),
    "continuous_memory": _series(num_memory_tokens=3),
    "continuous_probabilistic": _series(probabilistic=True),
    "multi_input": _many_inputs,
    "xval": _numbers,
    "neo_mlp": _neo,
    **{
        name: _decoder(**options)
        for name, options in {
            "scalenorm": {"use_scalenorm": True},
            "rmsnorm": {"use_rmsnorm": True},
            "simple_rmsnorm": {"use_simple_rmsnorm": True},
            "dynamic_tanh": {"use_dynamic_tanh": True},
            "derf": {"use_derf": True},
            "alibi": {"alibi_pos_bias": True},
            "t5_bias": {"rel_pos_bias": True},
            "dynamic_bias": {"dynamic_pos_bias": True},
            "rotary": {"rotary_pos_emb": True},
            "xpos": {"rotary_xpos": True},
            "polar": {"polar_pos_emb": True},
            "tied_layers": {"weight_tie_layers": True},
            "sandwich": {"sandwich_coef": 1},
            "residual_attention": {"residual_attn": True},
            "post_norm": {"pre_norm": False},
            "pre_and_post_norm": {"pre_and_post_norm": True},
            "sandwich_norm": {"sandwich_norm": True},
            "attention_of_residuals": {
                "attn_aggregated_residuals": True,
                "attn_aggregated_residual_kwargs": {"lora_rank": 8},
            },
            "gated_residual": {"gate_residual": True},
            "orthogonal_residual": {"orthog_residual": True},
            "scaled_residual": {"scale_residual": True},
            "shifted_tokens": {"shift_tokens": 1},
            "softclamp": {"softclamp_output": True},
            "layerscale": {"use_layerscale": True},
            "integrated_layers": {"integrate_layers": True},
            "hyper_connections": {"num_residual_streams": 4},
            "reinjected_input": {"reinject_input": True, "weight_tie_layers": True},
            "value_residual": {"add_value_residual": True},
            "glu": {"ff_glu": True},
            "swiglu_bias": {"ff_glu": True, "ff_swish": True, "ff_glu_mult_bias": True},
            "relu_squared": {"ff_relu_squared": True},
            "solu": {"ff_solu": True},
            "post_act_ln": {"ff_post_act_ln": True},
            "no_bias": {"ff_no_bias": True},
            "flash": {"attn_flash": True},
            "talking_heads": {"attn_pre_talking_heads": True, "attn_post_talking_heads": True},
            "head_scale": {"attn_head_scale": True},
            "sparse_topk": {"attn_sparse_topk": 4},
            "memory_key_values": {"attn_num_mem_kv": 3},
            "on_attention": {"attn_on_attn": True},
            "gated_values": {"attn_gate_values": True},
            "gated_value_heads": {"attn_gate_value_heads": True},
            "swiglu_values": {"attn_swiglu_values": True},
            "output_gate": {"attn_output_gate": True},
            "low_rank_gate": {"attn_output_gate": True, "attn_output_gate_rank": 4},
            "hard": {"attn_hard": True},
            "qk_norm": {"attn_qk_norm": True},
            "qk_norm_groups": {"attn_qk_norm": True, "attn_qk_norm_groups": 2},
            "qk_norm_dim_scale": {"attn_qk_norm": True, "attn_qk_norm_dim_scale": True},
            "qk_rmsnorm": {"attn_qk_rmsnorm": True},
            "value_rmsnorm": {"attn_value_rmsnorm": True},
            "l2_distance": {"attn_l2_distance": True},
            "sigmoid_attention": {"attn_sigmoid": True},
            "selective": {"attn_selective": True},
            "cog_signed": {"attn_cog_signed": True},
            "one_kv_head": {"attn_one_kv_head": True},
            "grouped_queries": {"attn_kv_heads": 2},
            "value_dim": {"attn_value_dim_head": 12},
            "zero_kv": {"attn_add_zero_kv": True},
            "learned_sink": {"attn_head_learned_sink": True},
            "data_dependent_alibi": {"attn_data_dependent_alibi": True},
            "relative_projected": {"attn_use_rel_proj_pos_bias": True},
            "cope": {"attn_use_cope": True},
            "softclamp_logits": {"attn_softclamp_logits": True},
            "orthogonal_values": {"attn_orthog_projected_values": True},
            "laser": {"attn_laser": True},
            "max_attend_past": {"attn_max_attend_past": 4},
        }.items()
    },
    "macaron": _encoder(macaron=True),
    "unet_skips": _encoder(unet_skips=True, depth=4),
    "par_ratio": _encoder(par_ratio=2, depth=4),
    "adaptive_layernorm": _conditioned(use_adaptive_layernorm=True),
    "adaptive_rmsnorm": _conditioned(use_adaptive_rmsnorm=True, adaptive_condition_mlp=True),
    "adaptive_layerscale": _conditioned(use_adaptive_layernorm=True, use_adaptive_layerscale=True),
    "memory_tokens": _wrapped(num_memory_tokens=3),
    "memory_tokens_interspersed": _language(
        Decoder, {"num_memory_tokens": 2, "memory_tokens_interspersed_every": 4}, {}
    ),
    "tied_embedding": _wrapped(tie_embedding=True),
    "narrow_embedding": _wrapped(emb_dim=16),
    "post_emb_norm": _wrapped(post_emb_norm=True),
    "sinusoidal": _wrapped(scaled_sinu_pos_emb=True),
    "l2norm_embed": _wrapped(l2norm_embed=True),
    "average_pool": _wrapped(average_pool_embed=True, logits_dim=5),
    "cls_token": _wrapped(use_cls_token=True, logits_dim=5),
    "attention_pool": _wrapped(attn_pool=True, num_pooled_tokens=2, logits_dim=5),
    "two_heads": _wrapped(num_output_heads=2),
    "mixture_of_softmax": _wrapped(mixture_of_softmax=True),
    "sigsoftmax": _wrapped(sigsoftmax_logits=True),
    "recycling": _recycled,
    "looped": _language(
        Encoder, {"looped": True, "max_looped_steps": 2}, {"pre_and_post_norm": True}
    ),
    "deep_embed": _wrapped(ff_deep_embed=True),
}
