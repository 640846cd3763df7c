"""What a model says about its own inputs, read from attributes it may carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

Example = tuple[tuple[Any, ...], dict[str, Any]]


def model_metadata(model: object) -> dict[str, Any]:
    """Return what is known about the inputs of ``model`` (empty if nothing is).

    Keys: ``input_size`` (shape of one example without the batch dimension), ``input_name``
    (keyword the tensor belongs to), ``mean`` and ``std`` (per-channel normalisation of images on
    [0, 1]), ``dummy_inputs`` (keyword arguments, tensors).
    """
    found: dict[str, Any] = {}
    for attribute in ("pretrained_cfg", "default_cfg"):
        config = getattr(model, attribute, None)
        if isinstance(config, Mapping):
            size = _sizes(config.get("input_size"))
            if size:
                found.setdefault("input_size", size)
            for key in ("mean", "std"):
                values = config.get(key)
                if isinstance(values, (list, tuple)) and values:
                    found.setdefault(key, tuple(float(value) for value in values))
    config = getattr(model, "config", None)
    name = getattr(model, "main_input_name", None)
    dummy = _dummy_inputs(model)
    if isinstance(name, str) and name not in dummy:
        size = _image_size(config)
        if size and "input_size" not in found:
            found["input_size"] = size
            found["input_name"] = name
    elif dummy:
        found["dummy_inputs"] = dummy
    return found


def example_from_metadata(metadata: Mapping[str, Any], batch: int = 2) -> Example | None:
    """Return example (args, kwargs) made from :func:`model_metadata`, or None if it has no shape.

    Images are standard normal float32 of shape ``(batch, *input_size)``, from a fixed seed.
    """
    if "dummy_inputs" in metadata:
        return (), dict(metadata["dummy_inputs"])
    size = metadata.get("input_size")
    if size is None:
        return None
    value = torch.randn((batch, *size), generator=torch.Generator().manual_seed(0))
    name = metadata.get("input_name")
    return ((), {name: value}) if name else ((value,), {})


def _sizes(value: object) -> tuple[int, ...] | None:
    if isinstance(value, (list, tuple)) and value and all(_is_size(item) for item in value):
        return tuple(value)
    return None


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _image_size(config: object) -> tuple[int, ...] | None:
    side: Any = getattr(config, "image_size", None)
    channels: Any = getattr(config, "num_channels", None)
    sides = (side, side) if _is_size(side) else _sizes(side)
    return (channels, *sides) if sides and len(sides) == 2 and _is_size(channels) else None


def _dummy_inputs(model: object) -> dict[str, torch.Tensor]:
    try:
        value = getattr(model, "dummy_inputs", None)
    except Exception:  # noqa: BLE001 - it is a property in foreign code; without it the shape must be given
        return {}
    if isinstance(value, Mapping) and all(isinstance(v, torch.Tensor) for v in value.values()):
        return {str(key): item for key, item in value.items()}
    return {}
