"""Models that keep what their first forward has made: they stay as they were, and are captured."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import graphprune
from graphprune.into.state import SavedState


def _later(size: int) -> torch.Tensor:
    """A mask of what comes later."""
    return torch.triu(torch.full((size, size), -1e9), 1)


class _Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.query, self.out = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 4)

    def mask(self, size: int) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask, h = self.mask(x.shape[1]), self.embed(x)
        return self.out(torch.softmax(self.query(h) @ h.transpose(1, 2) + mask, -1) @ h)


class _Attribute(_Mixer):
    def mask(self, size: int) -> torch.Tensor:
        if not hasattr(self, "known"):
            self.known = _later(size)
        return self.known


class _Nested(_Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.known: dict[str, dict[int, torch.Tensor]] = {"masks": {}}

    def mask(self, size: int) -> torch.Tensor:
        if size not in self.known["masks"]:
            self.known["masks"][size] = _later(size)
        return self.known["masks"][size]


class _Cache:
    def __init__(self) -> None:
        self.value: torch.Tensor | None = None


class _Helper(_Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.known = _Cache()

    def mask(self, size: int) -> torch.Tensor:
        if self.known.value is None:
            self.known.value = _later(size)
        return self.known.value


class _Registered(_Mixer):
    def mask(self, size: int) -> torch.Tensor:
        if not hasattr(self, "known"):
            self.register_buffer("known", _later(size), persistent=False)
        return self.known


class _Reserved(_Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("known", None, persistent=False)

    def mask(self, size: int) -> torch.Tensor:
        if self.known is None:
            self.known = _later(size)
        return self.known


class _Grown(_Mixer):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("known", _later(4), persistent=False)

    def mask(self, size: int) -> torch.Tensor:
        if self.known.shape[0] < size:
            self.known = _later(size)
        return self.known


CACHES = (_Attribute, _Nested, _Helper, _Registered, _Reserved, _Grown)


def _fakes(model: nn.Module) -> list[str]:
    kept = [container for container, _ in SavedState.take(model).containers]
    found = [value for one in kept if isinstance(one, dict) for value in one.values()]
    kinds = [type(value).__name__ for value in (*found, *vars(model).values())]
    return [kind for kind in kinds if kind == "FakeTensor"]


@pytest.mark.parametrize("kind", CACHES)
def test_a_model_that_caches_is_compressed_and_stays_as_it_was(kind: type[_Mixer]) -> None:
    torch.manual_seed(0)
    model, x = kind().eval(), torch.randn(2, 6, 8)
    attributes, buffers = dict(vars(model)), dict(model.named_buffers())
    result = graphprune.compress(model, x, method="l2")
    assert result.stages.dense.dynamic_batch
    assert vars(model) == attributes
    assert dict(model.named_buffers()) == buffers
    assert not _fakes(model)
    copy.deepcopy(model)  # as fakes could not be
    expected = model(x)
    torch.testing.assert_close(result.stages.dense.module(x), expected)
    result.into(model)
    torch.testing.assert_close(model(x), result.model(x))


def test_what_was_cached_before_is_kept() -> None:
    model, x = _Nested().eval(), torch.randn(2, 6, 8)
    model(x)
    mask = model.known["masks"][6]
    graphprune.capture(model, x)
    assert model.known["masks"] == {6: mask}


def test_state_goes_back_into_what_is_nested() -> None:
    module: Any = nn.Linear(2, 2)
    module.deep = {"a": [{"b": {1}}], "c": _Cache()}
    before = SavedState.take(module)
    module.deep["a"][0]["b"].add(2)
    module.deep["a"].append(3)
    module.deep["c"].value = torch.ones(1)
    module.new = 1
    before.restore()
    assert module.deep["a"] == [{"b": {1}}]
    assert module.deep["c"].value is None
    assert not hasattr(module, "new")
