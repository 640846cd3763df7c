"""Operators made to fool the deletion probe, and what it must find in others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from probing import T, aten, call, check_by_force, labelled, operator, probed
from torch import Tensor, fx

from graphprune.rules import probe as prober_module
from graphprune.rules import trial
from graphprune.rules.probe import Axis, Findings, probe
from graphprune.rules.probed import label_probed
from graphprune.rules.trial import Signature, signature_of, tensor_nodes


def _blockwise(x: Tensor) -> Tensor:
    blocks = x.reshape(2, -1, 2, 5)
    return (blocks - blocks.mean(2, keepdim=True)).reshape(x.shape)


def _late_surprise(x: Tensor) -> Tensor:
    return x if x.shape[1] > 5 else x + 1


def _own_norm(x: Tensor) -> Tensor:
    return (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-5).sqrt()


def _attend(x: Tensor) -> Tensor:
    return torch.nn.functional.scaled_dot_product_attention(x, x, x)


def _positions(x: Tensor) -> Tensor:
    return x + torch.arange(x.shape[1])[:, None]


def _first_channels(x: Tensor) -> Tensor:
    return x[:, :3].sum(1)


def _running(x: Tensor) -> Tensor:
    return torch.stack([x[:, : n + 1].sum(1) for n in range(x.shape[1])], 1)


STUBBORN: dict[str, Callable[[Tensor], Any]] = {
    "softmax": lambda x: torch.softmax(x, 1),
    "cumsum": _running,
    "sort": lambda x: x.sort(1).values,
    "topk": lambda x: x.topk(2, 1).values,
    "mean": lambda x: x.mean(1),
    "scaled sum": lambda x: x.sum(1) / x.shape[1] ** 0.5,
    "maximum": lambda x: x.amax(1),
    "minimum": lambda x: x.amin(1),
    "maximum of one less magnitudes": lambda x: (1 - x.abs()).amax(1),
    "maximum less much": lambda x: (x - 20).amax(1),
    "argmax": lambda x: x.argmax(1),
    "product": lambda x: x.prod(1),
    "median": lambda x: x.median(1).values,
    "max pool over channels": lambda x: torch.nn.functional.max_pool1d(
        x.transpose(1, 2), 2
    ).clone(),
    "times the number of channels": lambda x: x * x.shape[1],
    "layer norm": _own_norm,
    "flip": lambda x: x.flip(1),
    "roll": lambda x: x.roll(1, 1),
    "roll all": lambda x: x.roll(1),
    "ignores its input": torch.ones_like,
    "ignores its values": lambda x: torch.arange(x.numel(), dtype=x.dtype).reshape(x.shape),
    "adds positions": _positions,
    "first channels": _first_channels,
    "blocks of channels": _blockwise,
    "another regime when short": _late_surprise,
    "interleaves": lambda x: x.reshape(2, 2, -1, 5).transpose(1, 2).reshape(x.shape).clone(),
    "every other": lambda x: x[:, ::2].clone(),
    "repeats": lambda x: x.repeat_interleave(2, 1),
    "difference of neighbours": lambda x: x.diff(dim=1),
    "fourier transform": lambda x: torch.fft.fft(x, dim=1),
    "rounded mean": lambda x: (x.mean(1) * 4).round(),
    "rank": lambda x: x.argsort(1).argsort(1),
    "count": lambda x: torch.full((x.shape[0],), float(x.shape[1])) + 0 * x.sum((1, 2)),
    "random": lambda x: x + torch.rand_like(x),
    "raises": lambda x: x.no_such_thing(),
}


@pytest.mark.parametrize("name", STUBBORN)
def test_what_needs_all_channels_keeps_them(name: str) -> None:
    op = operator(STUBBORN[name], name.replace(" ", "_"))
    node = graph_call(op, T(2, 8, 5), T(2, 8, 5))
    found = labelled(node, label_probed)
    (slots,) = [found.context.of(n) for n in tensor_nodes(node)]
    channels = next(slot for slot in slots if slot.shape[1] > 1)
    assert not found.free()[channels.numpy()].any()


@pytest.mark.parametrize("name", ["maximum", "minimum", "maximum less much"])
def test_a_maximum_over_many_channels_is_no_sum(name: str) -> None:
    """Among many channels the largest is above 0 whatever is removed, unless all are below."""
    op = operator(STUBBORN[name], "many_" + name.replace(" ", "_"))
    found = probed(op, T(1, 200, 2))
    assert isinstance(found, Findings)
    assert found.why[0, 1] == "it gives other values"


@pytest.mark.parametrize("weak", ["kinds of data", "dependence", "verification"])
def test_each_safeguard_is_needed(weak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one safeguard taken away, one of the operators above gets through."""
    prober = prober_module._Prober
    name, size = "maximum", 200
    if weak == "kinds of data":
        monkeypatch.setattr(trial, "DRAWS", ("normal",) * 5)
    elif weak == "dependence":
        monkeypatch.setattr(prober_module, "_varies", lambda *_: True)
        monkeypatch.setattr(prober, "unfit", without_complaint(prober.unfit))
        name, size = "ignores its input", 8
    else:
        name, size = "wrong with seven", 8
        monkeypatch.setattr(prober, "_verified", lambda *_: True)
    function = {**STUBBORN, "wrong with seven": lambda x: x * (x.shape[1] != 7)}[name]
    op = operator(function, f"weak_{weak}".replace(" ", "_"))
    signature = signature_of(call(op, T(1, size, 2)))
    assert isinstance(signature, Signature)
    strong = probe.__wrapped__
    assert any((0, 1) in axis.members for axis in strong(signature, ((0, 1),)).axes)
    monkeypatch.undo()
    assert not strong(signature, ((0, 1),)).axes


def without_complaint(unfit: Callable[[Any], str]) -> Callable[[Any], str]:
    def run(prober: Any) -> str:
        unfit(prober)
        prober._full = [prober._run(data) for data in prober._data]
        return ""

    return run


def graph_call(op: Any, x: Tensor, result: Tensor) -> fx.Node:
    """A call whose result has the shape that running it shows, or that of ``result``."""
    try:
        return call(op, x)
    except Exception:  # noqa: BLE001 - one of the operators always raises
        node = call(aten.relu.default, x)
        node.target = op
        node.meta["val"] = result
        return node


GENTLE: dict[str, tuple[Callable[..., Any], str, tuple[Any, ...], set[Axis]]] = {
    "signs": (
        lambda x: torch.where(x > 0, x.sign(), x.round()),
        "(Tensor x) -> Tensor",
        (T(2, 6, 5),),
        {Axis(((0, d),), ((0, d),)) for d in (0, 1, 2)},
    ),
    "nan for negative numbers": (
        torch.sqrt,
        "(Tensor x) -> Tensor",
        (T(2, 6, 5),),
        {Axis(((0, d),), ((0, d),)) for d in (0, 1, 2)},
    ),
    "einsum": (
        lambda x, y: torch.einsum("abc,dc->bad", x, y),
        "(Tensor x, Tensor y) -> Tensor",
        (T(2, 6, 5), T(7, 5)),
        {
            Axis(((0, 0),), ((0, 1),)),
            Axis(((0, 1),), ((0, 0),)),
            Axis(((1, 0),), ((0, 2),)),
            Axis(((0, 2), (1, 1)), ()),
        },
    ),
    "square matrices": (
        torch.mm,
        "(Tensor x, Tensor y) -> Tensor",
        (T(6, 6), T(6, 6)),
        {
            Axis(((0, 0),), ((0, 0),)),
            Axis(((0, 1), (1, 0)), ()),
            Axis(((1, 1),), ((0, 1),)),
        },
    ),
    "two outputs": (
        lambda x: (x.sin(), x.square().sum(1)),
        "(Tensor x) -> (Tensor, Tensor)",
        (T(2, 6, 5),),
        {
            Axis(((0, 0),), ((0, 0), (1, 0))),
            Axis(((0, 1),), ((0, 1),)),
            Axis(((0, 2),), ((0, 2), (1, 1))),
        },
    ),
    "a list of tensors": (
        lambda tensors: tensors[0] * tensors[1],
        "(Tensor[] tensors) -> Tensor",
        ([T(2, 6), T(2, 6)],),
        {Axis(((0, 0), (1, 0)), ((0, 0),)), Axis(((0, 1), (1, 1)), ((0, 1),))},
    ),
    "gram matrix": (
        lambda x: x @ x.transpose(0, 1),
        "(Tensor x) -> Tensor",
        (T(6, 5),),
        {Axis(((0, 0),), ((0, 0), (0, 1))), Axis(((0, 1),), ())},
    ),
    "symmetric": (  # both dimensions would have to go together, which is not tried
        lambda x: x + x.transpose(1, 2),
        "(Tensor x) -> Tensor",
        (T(3, 6, 6),),
        {Axis(((0, 0),), ((0, 0),))},
    ),
    "attention": (  # the default scale depends on the last dimension
        _attend,
        "(Tensor x) -> Tensor",
        (T(3, 6, 5),),
        {Axis(((0, 0),), ((0, 0),))},
    ),
}


@pytest.mark.parametrize("name", GENTLE)
def test_what_is_found(name: str) -> None:
    function, schema, arguments, expected = GENTLE[name]
    op = operator(function, "gentle_" + name.replace(" ", "_"), schema)
    found = probed(op, *arguments)
    assert isinstance(found, Findings)
    assert set(found.axes) == expected
    assert check_by_force(call(op, *arguments))
