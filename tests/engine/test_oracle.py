"""Mutation test of the oracle: a model sliced wrongly on purpose does not pass it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from engine_networks import network
from engine_oracle import LIMIT, Shrunk, compare, compress

from graphprune.errors import CertificateError
from graphprune.graph.values import get_tensor

MODELS = {
    "convolutions": (("residual", 2, 3), ("dense", 3, 1), ("depthwise", 1, 2), ("squeeze", 3, 0)),
    "groups": (("grouped", 4, 2), ("norm", 4, 0), ("split", 3, 1), ("conv", 3, 1)),
    "attention": (("attention", 2, 0), ("perceptron", 2, 1), ("activation", 5, 5)),
}


def mutants(result: Shrunk) -> list[tuple[str, torch.Tensor]]:
    """(parameter, wrong slice): one kept index changed for a neighbour, along every sliced dim."""
    found = []
    for name, dims in result.plan.kept.items():
        whole = get_tensor(result.captured.module, name).detach()
        right = get_tensor(result.small, name).detach()
        for dim, kept in dims.items():
            size = whole.shape[dim]
            if isinstance(kept[0], list) or len(kept) == size:
                continue
            lost = sorted(set(range(size)) - {int(k) for k in kept})
            # In the small tensor, one kept slice is exchanged for one that should have gone.
            wrong = right.clone()
            other = whole.select(dim, lost[len(lost) // 2])
            for others, positions in dims.items():
                if others != dim and not isinstance(positions[0], list):
                    axis = others if others < dim else others - 1
                    other = other.index_select(axis, torch.tensor(positions))
            place = wrong.select(dim, len(kept) // 2)
            if place.shape == other.shape:
                place.copy_(other)
                found.append((f"{name} dim {dim}", wrong))
    return found


def caught(result: Shrunk, name: str, wrong: torch.Tensor) -> bool:
    small = copy.deepcopy(result.small)
    with torch.no_grad():
        get_tensor(small, name.split(" ", maxsplit=1)[0]).copy_(wrong)
    return compare(result.captured, result.analysis, result.plan, small) > LIMIT


def test_nearly_every_wrong_slice_is_caught() -> None:
    total, missed = 0, []
    for label, program in MODELS.items():
        model, inputs = network(program)
        result = compress(model, inputs, "channels=0.5")
        assert result.error <= LIMIT
        for name, wrong in mutants(result):
            total += 1
            if not caught(result, name, wrong):
                missed.append(f"{label}: {name}")
    assert total >= 40
    # What may pass: a key's bias (the same for all keys, softmax takes it away) and the bias of
    # a convolution before a normalisation that subtracts the mean of each channel.
    assert len(missed) <= 0.1 * total, missed
    assert all(name.endswith("bias dim 0") for name in missed), missed


def test_a_wrong_size_in_the_graph_is_caught() -> None:
    model, inputs = network(MODELS["attention"])
    result = compress(model, inputs, "channels=0.5")
    small = copy.deepcopy(result.small)
    (attention,) = [n for n in small.graph.nodes if "dot_product" in str(n.target)]
    attention.kwargs = {**attention.kwargs, "scale": 2 * attention.kwargs["scale"]}
    small.recompile()
    assert compare(result.captured, result.analysis, result.plan, small) > LIMIT


@pytest.mark.parametrize("spoil", ["constant", "nan", "shape"])
def test_the_comparison_refuses_what_proves_nothing(spoil: str) -> None:
    model, inputs = network(MODELS["convolutions"])
    result = compress(model, inputs, "channels=0.5")
    small = copy.deepcopy(result.small)

    def spoiled(x: torch.Tensor) -> Any:
        y = small(x)
        return {"constant": y * 0, "nan": y * torch.nan, "shape": y[:, :-1]}[spoil]

    if spoil == "constant":
        assert compare(result.captured, result.analysis, result.plan, spoiled) > LIMIT  # type: ignore[arg-type]
        weights = result.captured.module.state_dict()
        weights["head.weight"].zero_()  # now model and reference are constant alike
        small.state_dict()["head.weight"].zero_()
        with pytest.raises(CertificateError, match="does not vary"):
            compare(result.captured, result.analysis, result.plan, small)
    else:
        with pytest.raises((CertificateError, AssertionError)):
            compare(result.captured, result.analysis, result.plan, spoiled)  # type: ignore[arg-type]
