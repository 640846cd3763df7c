"""transformers: further model types, from their default configurations made small.

``transformers_zoo`` has model types with their task heads, written by hand. These are found: every
type whose small model runs on plain inputs, which are made up from the names of its arguments. They
are bare models, so where one gives hidden states it gets a linear layer, as people put upon them.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.models.imagenet import torchvision
from benchmarks.zoos import transformers_zoo
from benchmarks.zoos.types_small import make_small

torchvision()  # transformers imports it too, and cannot where its compiled part does not fit torch

import transformers  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES  # noqa: E402

LISTED = Path(__file__).with_name("types.txt")
"""Types of transformers 5.23 that can be built so."""

BATCH, TOKENS, DECODED, SAMPLES, FRAMES = 2, 12, 8, 4000, 100


def names() -> list[str]:
    """Model types of the list that the installed version has."""
    return [name for name in LISTED.read_text().split() if name in MODEL_MAPPING_NAMES]


def further() -> list[str]:
    """All types that ``transformers_zoo`` has not, whether or not they can be built."""
    known = {
        getattr(transformers, entry.model).config_class.model_type
        for entry in transformers_zoo.TABLE.values()
        if hasattr(transformers, entry.model)
    }
    return [name for name in MODEL_MAPPING_NAMES if name not in known]


def build(name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model of type ``name`` with random weights, and its keyword arguments."""
    config = transformers.AutoConfig.for_model(name)
    make_small(config)
    model: nn.Module = transformers.AutoModel.from_config(config).eval()
    inputs = _inputs(model, config)
    with torch.no_grad():
        states = getattr(model(**inputs), "last_hidden_state", None)
    return (model if states is None else _Headed(model, states)).eval(), inputs


class _Headed(nn.Module):
    """A linear layer upon hidden states (B, N, C), or upon the mean of maps (B, C, H, W)."""

    def __init__(self, body: nn.Module, states: torch.Tensor) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(states.shape[1 if states.ndim == 4 else -1], 10)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.body(**inputs).last_hidden_state
        scores: torch.Tensor = self.head(states.mean((2, 3)) if states.ndim == 4 else states)
        return scores


def _inputs(model: nn.Module, config: Any) -> dict[str, torch.Tensor]:
    wanted = inspect.signature(model.forward).parameters
    made = {
        "input_ids": lambda: torch.randint(4, 150, (BATCH, TOKENS)),
        "pixel_values": lambda: _pictures(config),
        "input_values": lambda: torch.randn(BATCH, *_one_channel(config), SAMPLES),
        "input_features": lambda: _sound(config),
        "decoder_input_ids": lambda: torch.randint(4, 150, (BATCH, DECODED)),
    }
    return {name: make() for name, make in made.items() if name in wanted}


def _one_channel(config: Any) -> tuple[int, ...]:
    """Codecs take (batch, channels, samples), recognisers (batch, samples)."""
    return (1,) if hasattr(config, "codebook_size") else ()


def _pictures(config: Any) -> torch.Tensor:
    parts = (config, getattr(config, "vision_config", None))
    sizes = [getattr(part, "image_size", None) for part in parts]
    size = next((one for one in sizes if isinstance(one, int)), 64)
    channels = getattr(config, "num_channels", 3)
    frames = (config.num_frames,) if hasattr(config, "num_frames") else ()
    return torch.rand(BATCH, *frames, channels if isinstance(channels, int) else 3, size, size)


def _sound(config: Any) -> torch.Tensor:
    named = ("num_mel_bins", "input_feat_per_channel", "feature_size", "input_dim", "input_size")
    bins = next((getattr(config, name) for name in named if getattr(config, name, None)), 80)
    if hasattr(config, "max_source_positions"):
        return torch.randn(BATCH, bins, 2 * config.max_source_positions)
    return torch.randn(BATCH, FRAMES, bins)
