"""transformers: model types built from small random configurations, mostly with their task heads.

Small, yet with several layers and heads, so that half of the channels is well defined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.models.imagenet import torchvision
from benchmarks.zoos.pictures import pictures
from benchmarks.zoos.transformers_entry import Entry
from benchmarks.zoos.transformers_senses import SENSE_MODELS
from benchmarks.zoos.transformers_text import TEXT_MODELS

torchvision()  # transformers imports it too, and cannot where its compiled part does not fit torch

import transformers  # noqa: E402

TABLE = {**TEXT_MODELS, **SENSE_MODELS}
BATCH, LENGTH, VOCABULARY = 2, 12, 199


def names() -> list[str]:
    """Model types, those of the table that the installed version has."""
    return [name for name, entry in TABLE.items() if hasattr(transformers, entry.model)]


def build(name: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model of type ``name`` with random weights, and its keyword arguments."""
    entry = TABLE[name]
    kind = getattr(transformers, entry.model)
    config = kind.config_class(**entry.config)
    model: nn.Module = kind(config)
    return model.eval(), _INPUTS[entry.inputs](entry, config)


def _tokens(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(4, VOCABULARY, (BATCH, LENGTH))}


def _padded(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    mask = torch.ones(BATCH, LENGTH, dtype=torch.long)
    mask[1, LENGTH - 3 :] = 0
    return {**_tokens(entry, config), "attention_mask": mask}


def _pair(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    decoder = torch.randint(4, VOCABULARY, (BATCH, LENGTH - 4))
    return {**_tokens(entry, config), "decoder_input_ids": decoder}


def _image(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    return {"pixel_values": pictures(BATCH, 3, entry.size, entry.size)}


def _image_and_text(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    return {**_padded(entry, config), **_image(entry, config)}


def _wave(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    return {"input_values": torch.randn(BATCH, entry.size)}


def _mel(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    mel = torch.randn(BATCH, config.num_mel_bins, entry.size)
    return {"input_features": mel, "decoder_input_ids": torch.randint(4, VOCABULARY, (BATCH, 6))}


def _spectrogram(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    return {"input_values": torch.randn(BATCH, entry.size, config.num_mel_bins)}


def _layout(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    corners = torch.randint(0, 20, (BATCH, LENGTH, 2))
    boxes = torch.cat([corners, corners + torch.randint(1, 20, (BATCH, LENGTH, 2))], 2)
    return {**_padded(entry, config), "bbox": boxes}


def _points(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    points = torch.rand(BATCH, 1, 2, 2) * entry.size
    labels = torch.tensor([[[1, 0]], [[0, 1]]])
    return {**_image(entry, config), "input_points": points, "input_labels": labels}


def _perceived(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    mask = torch.ones(BATCH, config.max_position_embeddings, dtype=torch.long)
    ids = torch.randint(4, VOCABULARY, (BATCH, config.max_position_embeddings))
    return {"inputs": ids, "attention_mask": mask}


def _video(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    frames = config.num_frames
    return {"pixel_values": pictures(BATCH, frames, 3, entry.size, entry.size)}


def _series(entry: Entry, config: Any) -> dict[str, torch.Tensor]:
    return {"past_values": torch.randn(BATCH, config.context_length, config.num_input_channels)}


_INPUTS: dict[str, Callable[[Entry, Any], dict[str, torch.Tensor]]] = {
    "tokens": _tokens,
    "padded": _padded,
    "pair": _pair,
    "image": _image,
    "image+text": _image_and_text,
    "wave": _wave,
    "mel": _mel,
    "spectrogram": _spectrogram,
    "layout": _layout,
    "points": _points,
    "perceived": _perceived,
    "video": _video,
    "series": _series,
}
