"""litgpt: language models of many families from one class, small."""

from __future__ import annotations

from typing import Any

import torch
from litgpt import GPT, Config
from torch import nn

from benchmarks.zoos.libraries import Builder

SMALL: dict[str, Any] = {
    "block_size": 16,
    "n_layer": 2,
    "n_embd": 32,
    "n_head": 4,
    "padded_vocab_size": 64,
    "vocab_size": 64,
}
LLAMA: dict[str, Any] = {
    "norm_class_name": "RMSNorm",
    "mlp_class_name": "LLaMAMLP",
    "intermediate_size": 48,
    "bias": False,
    "rotary_percentage": 1.0,
    "parallel_residual": False,
}


def _language(**options: Any) -> Builder:
    def build() -> tuple[nn.Module, Any]:
        return GPT(Config(**{**SMALL, **options})), torch.randint(0, 64, (2, 10))

    return build


MODELS: dict[str, Builder] = {
    "gemma": _language(
        **{**LLAMA, "mlp_class_name": "GemmaMLP"}, scale_embeddings=True, n_query_groups=1
    ),
    "gemma_2": _language(
        **{**LLAMA, "mlp_class_name": "GemmaMLP"},
        n_query_groups=2,
        attention_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        post_attention_norm=True,
        post_mlp_norm=True,
        sliding_window_size=4,
        sliding_window_indices=[1, 0],
    ),
    "latent_attention": _language(
        **LLAMA,
        latent_attention={
            "q_lora_rank": 24,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
    "llama": _language(**LLAMA),
    "llama_grouped": _language(**LLAMA, n_query_groups=2),
    "mixture": _language(
        **{**LLAMA, "mlp_class_name": "LLaMAMoE"},
        n_expert=4,
        n_expert_per_token=2,
        moe_intermediate_size=24,
    ),
    "neox": _language(),
    "olmo_2": _language(**LLAMA, norm_qk=True, norm_qk_type="olmo2"),
    "phi": _language(shared_attention_norm=True, lm_head_bias=True, gelu_approximate="tanh"),
    "qwen_3": _language(**LLAMA, n_query_groups=2, norm_qk=True, head_size=8),
}
