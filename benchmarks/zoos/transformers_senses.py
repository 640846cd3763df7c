"""Small configurations of transformers' models of sound, images and what goes with them."""

from __future__ import annotations

from benchmarks.zoos.transformers_entry import BOTH, LAYERS, TEXT, VISION, Entry

PATCHES = {**VISION, "image_size": 64, "patch_size": 16, "num_labels": 10}
STAGES = {"depths": [2, 2, 2], "num_labels": 10}
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

SENSE_MODELS: dict[str, Entry] = {
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
