"""Small configurations of transformers' model types: class, options, what the model reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Entry:
    """How to make one model.

    Attributes:
        model: name of the class in transformers; its configuration's class is known to it.
        inputs: kind of inputs (see ``transformers_zoo``).
        config: options of the configuration.
        size: pixels of a side, samples of a wave or frames, where the inputs are such.
    """

    model: str
    inputs: str
    config: dict[str, Any] = field(default_factory=dict)
    size: int = 64


LAYERS = {"num_hidden_layers": 3, "num_attention_heads": 4}
VISION = {**LAYERS, "hidden_size": 64, "intermediate_size": 128}
TEXT = {**VISION, "vocab_size": 200, "max_position_embeddings": 64, "pad_token_id": 1}
GROUPED = {**TEXT, "num_key_value_heads": 2}
PATCHES = {**VISION, "image_size": 64, "patch_size": 16, "num_labels": 10}
EXPERTS = {**GROUPED, "moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}
STAGES = {"depths": [2, 2, 2], "num_labels": 10}
BOTH = {
    "vocab_size": 200,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
}
T5 = {
    "vocab_size": 200,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 3,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
SPEECH = {
    **VISION,
    "vocab_size": 32,
    "conv_dim": [32, 32, 32],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 2, 2],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
CLIP_PARTS = {
    "text_config": {**TEXT, "eos_token_id": 2},
    "vision_config": {**VISION, "image_size": 64, "patch_size": 16},
    "projection_dim": 48,
}
BACKBONE = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "backbone_config": {
        "model_type": "resnet",
        "embedding_size": 16,
        "hidden_sizes": [32, 64, 96, 128],
        "depths": [1, 1, 1, 1],
        "out_features": ["stage4"],
    },
}
GPT = {"vocab_size": 200, "n_positions": 64, "n_embd": 64, "n_layer": 3, "n_head": 4}

TABLE: dict[str, Entry] = {
    # Encoders of text
    "bert": Entry("BertForSequenceClassification", "padded", TEXT),
    "roberta": Entry("RobertaForSequenceClassification", "padded", TEXT),
    "distilbert": Entry(
        "DistilBertForSequenceClassification",
        "padded",
        {
            "vocab_size": 200,
            "dim": 64,
            "hidden_dim": 128,
            "n_layers": 3,
            "n_heads": 4,
            "max_position_embeddings": 64,
        },
    ),
    "deberta-v2": Entry(
        "DebertaV2ForSequenceClassification",
        "padded",
        {
            **TEXT,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 8,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
        },
    ),
    "albert": Entry("AlbertForSequenceClassification", "padded", {**TEXT, "embedding_size": 32}),
    "electra": Entry("ElectraForSequenceClassification", "padded", {**TEXT, "embedding_size": 32}),
    "mobilebert": Entry(
        "MobileBertForSequenceClassification",
        "padded",
        {
            **TEXT,
            "embedding_size": 32,
            "intra_bottleneck_size": 32,
            "intermediate_size": 64,
            "num_feedforward_networks": 2,
        },
    ),
    "mpnet": Entry("MPNetForSequenceClassification", "padded", TEXT),
    "modernbert": Entry("ModernBertForSequenceClassification", "padded", TEXT),
    "layoutlm": Entry(
        "LayoutLMForTokenClassification", "layout", {**TEXT, "max_2d_position_embeddings": 64}
    ),
    "squeezebert": Entry(
        "SqueezeBertForSequenceClassification", "padded", {**TEXT, "embedding_size": 64}
    ),
    "fnet": Entry("FNetForSequenceClassification", "tokens", TEXT),
    # Decoders of text
    "gpt2": Entry("GPT2LMHeadModel", "tokens", GPT),
    "gptj": Entry("GPTJForCausalLM", "tokens", {**GPT, "rotary_dim": 8}),
    "gpt-bigcode": Entry("GPTBigCodeForCausalLM", "tokens", GPT),
    "gpt-neo": Entry(
        "GPTNeoForCausalLM",
        "tokens",
        {
            "vocab_size": 200,
            "hidden_size": 64,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "max_position_embeddings": 64,
            "window_size": 8,
        },
    ),
    "gpt-neox": Entry("GPTNeoXForCausalLM", "tokens", TEXT),
    "opt": Entry("OPTForCausalLM", "padded", {**TEXT, "ffn_dim": 128, "word_embed_proj_dim": 64}),
    "bloom": Entry(
        "BloomForCausalLM", "padded", {"vocab_size": 200, "hidden_size": 64, **LAYERS, "n_layer": 3}
    ),
    "falcon": Entry(
        "FalconForCausalLM",
        "tokens",
        {**TEXT, "multi_query": True, "new_decoder_architecture": False, "parallel_attn": True},
    ),
    "llama": Entry("LlamaForCausalLM", "tokens", GROUPED),
    "mistral": Entry("MistralForCausalLM", "tokens", {**GROUPED, "sliding_window": 8}),
    "qwen2": Entry("Qwen2ForCausalLM", "tokens", GROUPED),
    "qwen3": Entry("Qwen3ForCausalLM", "tokens", {**GROUPED, "head_dim": 24}),
    "gemma": Entry("GemmaForCausalLM", "tokens", {**GROUPED, "head_dim": 16}),
    "gemma2": Entry("Gemma2ForCausalLM", "tokens", {**GROUPED, "head_dim": 16}),
    "gemma3": Entry("Gemma3ForCausalLM", "tokens", {**GROUPED, "head_dim": 16}),
    "phi": Entry("PhiForCausalLM", "tokens", TEXT),
    "phi3": Entry("Phi3ForCausalLM", "tokens", GROUPED),
    "olmo": Entry("OlmoForCausalLM", "tokens", TEXT),
    "olmo2": Entry("Olmo2ForCausalLM", "tokens", TEXT),
    "cohere": Entry("CohereForCausalLM", "tokens", GROUPED),
    "stablelm": Entry("StableLmForCausalLM", "tokens", GROUPED),
    "starcoder2": Entry("Starcoder2ForCausalLM", "tokens", GROUPED),
    "granite": Entry("GraniteForCausalLM", "tokens", GROUPED),
    "glm": Entry("GlmForCausalLM", "tokens", {**GROUPED, "head_dim": 16}),
    "smollm3": Entry("SmolLM3ForCausalLM", "tokens", GROUPED),
    "mixtral": Entry(
        "MixtralForCausalLM",
        "tokens",
        {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    ),
    "qwen2-moe": Entry(
        "Qwen2MoeForCausalLM", "tokens", {**EXPERTS, "shared_expert_intermediate_size": 96}
    ),
    "qwen3-moe": Entry("Qwen3MoeForCausalLM", "tokens", {**EXPERTS, "head_dim": 16}),
    "olmoe": Entry(
        "OlmoeForCausalLM", "tokens", {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}
    ),
    "deepseek-v3": Entry(
        "DeepseekV3ForCausalLM",
        "tokens",
        {
            **TEXT,
            "num_key_value_heads": 4,
            "q_lora_rank": 32,
            "kv_lora_rank": 32,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 16,
            "v_head_dim": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 2,
            "topk_group": 1,
            "n_shared_experts": 1,
            "first_k_dense_replace": 1,
            "moe_intermediate_size": 64,
        },
    ),
    # State spaces and recurrences
    "mamba": Entry(
        "MambaForCausalLM",
        "tokens",
        {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 3, "state_size": 8},
    ),
    "mamba2": Entry(
        "Mamba2ForCausalLM",
        "tokens",
        {
            "vocab_size": 200,
            "hidden_size": 64,
            "num_hidden_layers": 3,
            "state_size": 8,
            "num_heads": 8,
            "head_dim": 16,
            "n_groups": 2,
            "chunk_size": 4,
        },
    ),
    "rwkv": Entry(
        "RwkvForCausalLM",
        "tokens",
        {"vocab_size": 200, "hidden_size": 64, "num_hidden_layers": 3, "context_length": 32},
    ),
    # Encoder and decoder
    "t5": Entry("T5ForConditionalGeneration", "pair", T5),
    "mt5": Entry("MT5ForConditionalGeneration", "pair", {**T5, "feed_forward_proj": "gated-gelu"}),
    "bart": Entry("BartForConditionalGeneration", "pair", BOTH),
    "mbart": Entry("MBartForConditionalGeneration", "pair", BOTH),
    "pegasus": Entry("PegasusForConditionalGeneration", "pair", BOTH),
    "m2m-100": Entry("M2M100ForConditionalGeneration", "pair", BOTH),
    # Speech
    "whisper": Entry(
        "WhisperForConditionalGeneration",
        "mel",
        {
            **BOTH,
            "num_mel_bins": 16,
            "max_source_positions": 40,
            "max_target_positions": 24,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
        size=80,
    ),
    "wav2vec2": Entry("Wav2Vec2ForCTC", "wave", SPEECH, size=2000),
    "hubert": Entry("HubertForCTC", "wave", SPEECH, size=2000),
    "audio-spectrogram-transformer": Entry(
        "ASTForAudioClassification",
        "spectrogram",
        {**VISION, "num_mel_bins": 32, "max_length": 64, "patch_size": 16, "num_labels": 10},
    ),
    # Images
    "vit": Entry("ViTForImageClassification", "image", PATCHES),
    "deit": Entry("DeiTForImageClassificationWithTeacher", "image", PATCHES),
    "beit": Entry(
        "BeitForImageClassification", "image", {**PATCHES, "use_relative_position_bias": True}
    ),
    "dinov2": Entry("Dinov2ForImageClassification", "image", PATCHES),
    "swin": Entry(
        "SwinForImageClassification",
        "image",
        {
            **STAGES,
            "image_size": 64,
            "patch_size": 4,
            "embed_dim": 32,
            "num_heads": [2, 4, 8],
            "window_size": 4,
        },
    ),
    "swinv2": Entry(
        "Swinv2ForImageClassification",
        "image",
        {
            **STAGES,
            "image_size": 64,
            "patch_size": 4,
            "embed_dim": 32,
            "num_heads": [2, 4, 8],
            "window_size": 4,
        },
    ),
    "hiera": Entry(
        "HieraForImageClassification",
        "image",
        {
            "embed_dim": 32,
            "image_size": [64, 64],
            "depths": [1, 2, 2],
            "num_heads": [2, 4, 8],
            "masked_unit_size": [4, 4],
            "query_stride": [2, 2],
            "num_query_pool": 2,
            "num_labels": 10,
        },
    ),
    "segformer": Entry(
        "SegformerForSemanticSegmentation",
        "image",
        {
            "hidden_sizes": [16, 32, 64, 96],
            "num_attention_heads": [1, 2, 4, 4],
            "depths": [1, 1, 1, 1],
            "decoder_hidden_size": 64,
            "num_labels": 10,
        },
    ),
    "convnext": Entry(
        "ConvNextForImageClassification",
        "image",
        {"hidden_sizes": [32, 48, 64, 96], "depths": [1, 1, 2, 1], "num_labels": 10},
    ),
    "convnextv2": Entry(
        "ConvNextV2ForImageClassification",
        "image",
        {"hidden_sizes": [32, 48, 64, 96], "depths": [1, 1, 2, 1], "num_labels": 10},
    ),
    "resnet": Entry(
        "ResNetForImageClassification",
        "image",
        {
            "embedding_size": 16,
            "hidden_sizes": [32, 64, 96, 128],
            "depths": [1, 1, 1, 1],
            "num_labels": 10,
        },
    ),
    "regnet": Entry(
        "RegNetForImageClassification",
        "image",
        {
            "embedding_size": 16,
            "hidden_sizes": [32, 64, 96, 128],
            "depths": [1, 1, 1, 1],
            "groups_width": 16,
            "num_labels": 10,
        },
    ),
    "mobilevit": Entry(
        "MobileViTForImageClassification",
        "image",
        {
            "hidden_sizes": [32, 48, 64],
            "neck_hidden_sizes": [16, 16, 32, 48, 64, 80, 96],
            "image_size": 64,
            "num_labels": 10,
        },
    ),
    "levit": Entry(
        "LevitForImageClassification",
        "image",
        {
            "hidden_sizes": [64, 96, 128],
            "num_attention_heads": [4, 6, 8],
            "depths": [1, 1, 1],
            "key_dim": [16, 16, 16],
            "image_size": 128,
            "num_labels": 10,
        },
        size=128,
    ),
    "pvt-v2": Entry(
        "PvtV2ForImageClassification",
        "image",
        {
            "hidden_sizes": [16, 32, 64, 96],
            "num_attention_heads": [1, 2, 4, 4],
            "depths": [1, 1, 1, 1],
            "image_size": 64,
            "num_labels": 10,
        },
    ),
    "poolformer": Entry(
        "PoolFormerForImageClassification",
        "image",
        {"hidden_sizes": [16, 32, 64, 96], "depths": [1, 1, 1, 1], "num_labels": 10},
    ),
    "yolos": Entry(
        "YolosForObjectDetection",
        "image",
        {**PATCHES, "image_size": [64, 64], "num_detection_tokens": 10},
    ),
    "detr": Entry(
        "DetrForObjectDetection",
        "image",
        {
            **{k: v for k, v in BOTH.items() if k.endswith(("layers", "heads", "ffn_dim"))},
            **BACKBONE,
            "d_model": 64,
            "num_queries": 12,
            "num_labels": 10,
        },
        size=96,
    ),
    "dpt": Entry(
        "DPTForDepthEstimation",
        "image",
        {
            **PATCHES,
            "num_hidden_layers": 4,
            "backbone_out_indices": [0, 1, 2, 3],
            "neck_hidden_sizes": [16, 32, 48, 64],
            "fusion_hidden_size": 32,
            "is_hybrid": False,
        },
    ),
    "videomae": Entry(
        "VideoMAEForVideoClassification", "video", {**PATCHES, "num_frames": 4, "tubelet_size": 2}
    ),
    # Images with something else
    "clip": Entry("CLIPModel", "image+text", CLIP_PARTS),
    "siglip": Entry(
        "SiglipModel",
        "image+text",
        {"text_config": CLIP_PARTS["text_config"], "vision_config": CLIP_PARTS["vision_config"]},
    ),
    "vilt": Entry(
        "ViltForQuestionAnswering", "image+text", {**TEXT, "image_size": 64, "patch_size": 16}
    ),
    "sam": Entry(
        "SamModel",
        "points",
        {
            "vision_config": {
                **VISION,
                "image_size": 64,
                "patch_size": 16,
                "output_channels": 32,
                "num_pos_feats": 16,
                "window_size": 2,
                "global_attn_indexes": [1],
                "mlp_dim": 128,
            },
            "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "patch_size": 16},
            "mask_decoder_config": {
                "hidden_size": 32,
                "mlp_dim": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "iou_head_hidden_dim": 32,
            },
        },
    ),
    "perceiver": Entry(
        "PerceiverForSequenceClassification",
        "perceived",
        {
            "vocab_size": 200,
            "d_model": 64,
            "d_latents": 96,
            "num_latents": 8,
            "num_blocks": 1,
            "num_self_attends_per_block": 2,
            "num_self_attention_heads": 4,
            "num_cross_attention_heads": 4,
            "max_position_embeddings": 24,
            "num_labels": 10,
        },
    ),
    "patchtst": Entry(
        "PatchTSTForPrediction",
        "series",
        {
            **LAYERS,
            "d_model": 64,
            "ffn_dim": 128,
            "context_length": 32,
            "prediction_length": 8,
            "patch_length": 8,
            "patch_stride": 8,
            "num_input_channels": 3,
            "loss": "mse",
        },
    ),
}
