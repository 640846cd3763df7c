"""What the tests of ``Compressed.into`` share: a shrunk copy, and how it is judged."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from benchmarks.models.randomise import randomise
from graphprune.compress import compress
from graphprune.compressed import CompressConfig, Compressed

IMAGES = torch.Size((3, 32, 32))


def shrunk(model: nn.Module, inputs: Any, **config: Any) -> Compressed:
    """``model`` at half of its channels; the model itself stays."""
    settings = CompressConfig(**config)
    return compress(model.eval(), inputs, target="channels=0.5", method="l2", config=settings)


def image_model(model: nn.Module) -> nn.Module:
    """With weights that hide nothing."""
    return randomise(model, torch.randn(8, *IMAGES))


def count(model: nn.Module) -> int:
    """Trainable values."""
    return sum(p.numel() for p in model.parameters())


def state(model: nn.Module) -> dict[str, Any]:
    """Everything that ``into`` may touch, to be compared bit by bit."""
    plain = {
        f"{path}.{key}": value
        for path, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | str | tuple | list | bool)
    }
    tensors = {k: (id(v), v.detach().clone()) for k, v in model.state_dict(keep_vars=True).items()}
    return {"plain": plain, "tensors": tensors}


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before["plain"] == after["plain"]
    assert before["tensors"].keys() == after["tensors"].keys()
    for name, (identity, value) in before["tensors"].items():
        assert after["tensors"][name][0] == identity, name
        assert torch.equal(after["tensors"][name][1], value), name


def assert_into(model: nn.Module, inputs: Any, *, plain: bool = True, **config: Any) -> nn.Module:
    """Shrink a copy of ``model`` in place and judge it by outputs, sizes and a training step."""
    result = shrunk(model, inputs, **config)
    own = copy.deepcopy(model)
    result.into(own)
    assert count(own) == count(result.model) < count(model)
    own.eval()
    for size in (2, 3):
        fresh = torch.randn(size, *inputs.shape[1:]) if inputs.is_floating_point() else inputs
        with torch.no_grad():
            actual, expected = own(fresh), result.model(fresh)
        actual, expected = (getattr(o, "last_hidden_state", o) for o in (actual, expected))
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
        assert actual.std() > 0
    small = result.model.state_dict()
    for name, value in own.state_dict().items():
        if name in small:
            assert value.shape == small[name].shape, name
            assert not plain or torch.equal(value, small[name]), name
    assert_attributes_fit(own)
    return own


def assert_attributes_fit(model: nn.Module) -> None:
    for name, part in model.named_modules():
        if isinstance(part, nn.Conv2d):
            assert part.weight.shape[0] == part.out_channels, name
            assert part.weight.shape[1] * part.groups == part.in_channels, name
        elif isinstance(part, nn.ConvTranspose2d):
            assert part.weight.shape[:2] == (part.in_channels, part.out_channels), name
        elif isinstance(part, nn.Linear):
            assert part.weight.shape == (part.out_features, part.in_features), name
        elif isinstance(part, nn.BatchNorm2d):
            assert part.weight.numel() == part.num_features, name
        elif isinstance(part, nn.GroupNorm):
            assert part.weight.numel() == part.num_channels, name
        elif isinstance(part, nn.LayerNorm):
            assert tuple(part.weight.shape) == part.normalized_shape, name
        elif isinstance(part, nn.Embedding):
            assert tuple(part.weight.shape) == (part.num_embeddings, part.embedding_dim), name
