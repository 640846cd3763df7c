"""Small configurations of transformers' models of text."""

from __future__ import annotations

from benchmarks.zoos.transformers_entry import BOTH, LAYERS, TEXT, Entry

GROUPED = {**TEXT, "num_key_value_heads": 2}
EXPERTS = {**GROUPED, "moe_intermediate_size": 64, "num_experts": 4, "num_experts_per_tok": 2}
T5 = {
    "vocab_size": 200,
    "d_model": 64,
    "d_kv": 16,
    "d_ff": 128,
    "num_layers": 3,
    "num_heads": 4,
    "decoder_start_token_id": 0,
}
GPT = {"vocab_size": 200, "n_positions": 64, "n_embd": 64, "n_layer": 3, "n_head": 4}

TEXT_MODELS: dict[str, Entry] = {
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
}
