"""Any configuration of transformers made small, by what its options are called."""

from __future__ import annotations

from typing import Any

WIDTH, HEADS, HEAD, HIDDEN, LAYERS, EXPERTS, VOCABULARY, LENGTH = 64, 4, 16, 128, 2, 8, 200, 64

_NAMES = {
    WIDTH: "hidden_size d_model n_embd dim embed_dim hidden_dim decoder_hidden_size embedding_size "
    "projection_dim encoder_hidden_dim proj_dim dim_model model_dim emb_dim projector_hidden_size "
    "cross_attention_hidden_size width text_embed_dim vision_embed_dim out_hidden_size output_dim "
    "feature_size attention_hidden_size lru_width mask_feature_size audio_hidden_size d_embed "
    "decoder_embed_dim projection_hidden_size backbone_hidden_size encoder_embed_dim decoder_dim",
    HEADS: "num_attention_heads n_head num_heads heads encoder_attention_heads n_heads "
    "decoder_attention_heads decoder_num_attention_heads num_decoder_attention_heads "
    "encoder_num_attention_heads linear_num_value_heads attention_heads",
    LAYERS: "num_hidden_layers n_layer num_layers encoder_layers decoder_layers depth n_layers "
    "decoder_num_hidden_layers num_decoder_layers encoder_num_hidden_layers decoder_depth "
    "encoder_depth num_encoder_layers num_blocks encoder_num_layers decoder_num_layers "
    "linear_num_key_heads num_experts_per_tok moe_topk n_group topk_group",
    HEAD: "head_dim d_kv kv_channels attention_head_dim d_head qk_nope_head_dim qk_rope_head_dim "
    "v_head_dim head_size linear_key_head_dim linear_value_head_dim q_lora_rank kv_lora_rank "
    "global_head_dim",
    HIDDEN: "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff n_inner mlp_dim "
    "decoder_intermediate_size moe_intermediate_size ffn_hidden_size encoder_intermediate_size "
    "shared_expert_intermediate_size linear_units feed_forward_size ffn_intermediate_size "
    "shared_intermediate_size dim_feedforward intermediate_dim block_ff_dim feedforward_dim",
    EXPERTS: "num_experts num_local_experts n_routed_experts moe_num_experts n_experts",
    VOCABULARY: "vocab_size text_vocab_size audio_vocab_size decoder_vocab_size",
}
_SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}
_SHARED = ("num_key_value_heads", "num_kv_heads")  # heads of keys, fewer than of queries or as many
_LENGTHS = ("max_position_embeddings", "n_positions", "max_target_positions", "n_ctx")
_STAGE_WIDTHS = ("hidden_sizes", "embed_dims", "encoder_hidden_sizes", "channels", "dims")
_STAGE_DEPTHS = ("depths", "layers_per_stage", "stage_repeats")
_KINDS = ("layer_types", "mlp_layer_types", "layers_block_type", "attention_types", "block_types")
_TOKENS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}


def make_small(config: Any) -> None:
    """Change a configuration, and those within it, so that its model has few parameters."""
    options = dict(vars(config))
    for name, value in options.items():
        if hasattr(value, "model_type"):
            make_small(value)
        elif name in _KINDS and isinstance(value, list):
            _shorten_kinds(config, name, value)
        elif name in _SHARED and isinstance(value, int):
            all_of_them = value == options.get("num_attention_heads")
            setattr(config, name, HEADS if all_of_them else min(value, HEADS // 2))
        elif (found := _smaller(config, name, value)) is not None:
            setattr(config, name, found)


def _smaller(config: Any, name: str, value: Any) -> Any:
    """What an option is to be instead; None to leave it."""
    if name == "use_cache":
        return False
    if isinstance(value, list | tuple) and value and all(isinstance(one, int) for one in value):
        if name in _STAGE_WIDTHS and max(value) > 256:
            return type(value)(max(16, one // 128 * 16) for one in value)
        return type(value)(min(one, 2) for one in value) if name in _STAGE_DEPTHS else None
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    if name == "embed_dim" and isinstance(getattr(config, "num_heads", None), list | tuple):
        return None  # of the first stage, small already
    if name in _TOKENS:
        return _TOKENS[name] if value >= VOCABULARY else None
    if name == "image_size" and value > LENGTH and not getattr(config, "window_size", None):
        patch = getattr(config, "patch_size", 16)
        return 4 * (patch if isinstance(patch, int) else 16)
    limit = LENGTH if name in _LENGTHS else _SIZES.get(name)
    return limit if limit is not None and value > limit else None


def _shorten_kinds(config: Any, name: str, kinds: list[Any]) -> None:
    """One layer of each kind that there is, two at least."""
    found = list(dict.fromkeys(kinds))
    setattr(config, name, found if len(found) > 1 else kinds[:LAYERS])
    if hasattr(config, "num_hidden_layers"):
        config.num_hidden_layers = len(getattr(config, name))
