"""How one of transformers' models is made small, and options that many of them share."""

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
