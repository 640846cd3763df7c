"""The deletion probe: never less strict than a rule written by hand, and never fooled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx

from graphprune.keep import Keep
from graphprune.labels.slots import Labels
from graphprune.rules import probe as prober_module
from graphprune.rules import trial
from graphprune.rules.context import Context
from graphprune.rules.probe import Axis, Findings, probe
from graphprune.rules.probed import label_probed
from graphprune.rules.rule import NodeLabels
from graphprune.rules.table import find_rule
from graphprune.rules.trial import Signature, signature_of, tensor_nodes
from graphprune.values import shape_of

aten = torch.ops.aten
T = torch.empty


def call(op: Any, *args: Any, **kwargs: Any) -> fx.Node:
    """A graph node that calls ``op`` on parameters like the tensors among its arguments."""
    graph, root = fx.Graph(), torch.nn.Module()
    count = 0

    def leaf(value: Any) -> Any:
        nonlocal count
        if not isinstance(value, Tensor):
            return value
        name = f"w{count}"
        count += 1
        root.register_buffer(name, value)
        node = graph.get_attr(name)
        node.meta["val"] = value
        return node

    node = graph.call_function(op, *torch.utils._pytree.tree_map(leaf, (args, kwargs)))
    torch.manual_seed(0)
    node.meta["val"] = op(*torch.utils._pytree.tree_map(_real, args), **kwargs)
    return node


def _real(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    return value if value.dtype is torch.bool else torch.rand_like(value)


@dataclass
class Labelled:
    """A call's labels, by one way or the other; atoms of its arguments are the same in both."""

    context: Context
    node: fx.Node
    labels: list[Labels]

    @property
    def classes(self) -> np.ndarray:
        return self.context.store.roots()

    def free(self) -> np.ndarray:
        """Whether each atom may go, bool."""
        pinned = np.zeros(self.context.store.count, dtype=bool)
        for record in self.context.store.pins:
            pinned[self.classes[record.atoms.numpy()]] = True
        found: np.ndarray = ~pinned[self.classes]
        return found

    def random_keep(self, generator: torch.Generator) -> Keep:
        """Some of the free classes go, but never all along one dimension."""
        free = self.free()
        keep = np.ones(self.context.store.count + 1, dtype=bool)
        for argument in tensor_nodes(self.node):
            for slot in self.context.of(argument):
                atoms = slot.reshape(-1).numpy()
                drawn = torch.rand(atoms.size - 1, generator=generator).numpy() < 0.5
                for atom in atoms[1:][drawn]:
                    if free[atom]:
                        keep[:-1][self.classes == self.classes[atom]] = False
                if not keep[atoms].any():
                    keep[:-1][np.isin(self.classes, self.classes[atoms])] = True
        return Keep(torch.from_numpy(keep))


def labelled(node: fx.Node, rule: Callable[[Context, fx.Node], NodeLabels | str]) -> Labelled:
    context = Context()
    for argument in tensor_nodes(node):
        context.labels[argument] = context.leaf(shape_of(argument), argument.name)
    context.node = node
    found = rule(context, node)
    if isinstance(found, str):
        for argument in tensor_nodes(node):
            context.pin(context.of(argument), found)
        value = node.meta["val"]
        found = () if isinstance(value, Tensor) else [() for _ in value]
    return Labelled(context, node, list(found) if isinstance(found, list) else [found])


def probed(op: Any, *args: Any, **kwargs: Any) -> Findings | str:
    """What the probe finds for all dimensions of all arguments."""
    node = call(op, *args, **kwargs)
    signature = signature_of(node)
    if isinstance(signature, str):
        return signature
    return probe(signature, places(signature))


def places(signature: Signature) -> tuple[tuple[int, int], ...]:
    return tuple(
        (number, dim)
        for number, tensor in enumerate(signature.tensors)
        for dim, size in enumerate(tensor.shape)
        if size > 1
    )


# -- against the rules written by hand ---------------------------------------------------------

X, Y, LINE = T(3, 6, 5), T(3, 6, 5), T(6)
IMAGE = T(3, 6, 7, 7)
BATCH_NORM = (aten.batch_norm.default, IMAGE, LINE, LINE, LINE, LINE, False, 0.1, 1e-5, False)
ATTENTION = aten.scaled_dot_product_attention.default
Q, K, V = T(2, 3, 4, 8), T(2, 3, 5, 8), T(2, 3, 5, 9)

CALLS: dict[str, tuple[Any, ...]] = {
    "relu": (aten.relu.default, X),
    "gelu": (aten.gelu.default, X),
    "silu": (aten.silu.default, X),
    "log": (aten.log.default, X),
    "round": (aten.round.default, X),
    "sign": (aten.sign.default, X),
    "add": (aten.add.Tensor, X, Y),
    "add broadcast": (aten.add.Tensor, X, T(6, 1)),
    "mul": (aten.mul.Tensor, X, T(5)),
    "mul square": (aten.mul.Tensor, T(3, 6, 6), T(6)),
    "div": (aten.div.Tensor, X, Y),
    "maximum": (aten.maximum.default, X, Y),
    "lt": (aten.lt.Tensor, X, Y),
    "pow": (aten.pow.Tensor_Scalar, X, 2),
    "clamp": (aten.clamp.default, X, -1.0, 1.0),
    "where": (aten.where.self, torch.ones(3, 6, 5, dtype=torch.bool), X, Y),
    "masked_fill": (
        aten.masked_fill.Scalar,
        X,
        torch.ones(3, 6, 5, dtype=torch.bool),
        -1.0,
    ),
    "prelu": (aten.prelu.default, X, LINE),
    "addcmul": (aten.addcmul.default, X, Y, Y),
    "sum": (aten.sum.dim_IntList, X, [1]),
    "sum keepdim": (aten.sum.dim_IntList, X, [1], True),
    "sum all": (aten.sum.default, X),
    "mean": (aten.mean.dim, X, [1]),
    "mean space": (aten.mean.dim, IMAGE, [2, 3]),
    "amax": (aten.amax.default, X, [1]),
    "amin": (aten.amin.default, X, [1]),
    "max dim": (aten.max.dim, X, 1),
    "argmax": (aten.argmax.default, X, 1),
    "logsumexp": (aten.logsumexp.default, X, [1]),
    "prod": (aten.prod.dim_int, X, 1),
    "var": (aten.var.correction, X, [1]),
    "var_mean": (aten.var_mean.correction, X, [1]),
    "norm": (aten.linalg_vector_norm.default, X, 2, [1]),
    "softmax": (aten.softmax.int, X, 1),
    "log_softmax": (aten.log_softmax.int, X, 1),
    "cumsum": (aten.cumsum.default, X, 1),
    "cumprod": (aten.cumprod.default, X, 1),
    "logcumsumexp": (aten.logcumsumexp.default, X, 1),
    "sort": (aten.sort.default, X, 1),
    "argsort": (aten.argsort.default, X, 1),
    "glu": (aten.glu.default, X, 1),
    "cat": (aten.cat.default, [X, Y], 1),
    "cat other": (aten.cat.default, [X, T(3, 6, 4)], 2),
    "stack": (aten.stack.default, [X, Y], 1),
    "pad": (aten.constant_pad_nd.default, X, [0, 0, 1, 1]),
    "pad space": (aten.constant_pad_nd.default, X, [1, 1]),
    "roll": (aten.roll.default, X, [2], [1]),
    "flip": (aten.flip.default, X, [1]),
    "repeat": (aten.repeat.default, X, [1, 2, 1]),
    "clone": (aten.clone.default, X),
    "pixel_shuffle": (aten.pixel_shuffle.default, T(2, 8, 3, 3), 2),
    "linear": (aten.linear.default, X, T(4, 5), T(4)),
    "linear square": (aten.linear.default, T(3, 6, 6), T(6, 6), T(6)),
    "matmul": (aten.matmul.default, X, T(5, 4)),
    "bmm": (aten.bmm.default, X, T(3, 5, 4)),
    "bmm square": (aten.bmm.default, T(6, 6, 6), T(6, 6, 6)),
    "mm": (aten.mm.default, T(6, 5), T(5, 4)),
    "mv": (aten.mv.default, T(6, 5), T(5)),
    "addmm": (aten.addmm.default, T(4), T(6, 5), T(5, 4)),
    "conv1d": (aten.conv1d.default, X, T(4, 6, 3), T(4)),
    "conv2d": (aten.conv2d.default, IMAGE, T(5, 6, 3, 3), T(5)),
    "conv depthwise": (aten.conv2d.default, IMAGE, T(6, 1, 3, 3), None, [1, 1], [0, 0], [1, 1], 6),
    "conv grouped": (aten.conv2d.default, IMAGE, T(6, 3, 3, 3), None, [1, 1], [0, 0], [1, 1], 2),
    "conv transposed": (aten.conv_transpose2d.input, IMAGE, T(6, 4, 3, 3)),
    "batch_norm": BATCH_NORM,
    "instance_norm": (
        aten.instance_norm.default,
        IMAGE,
        LINE,
        LINE,
        None,
        None,
        True,
        0.1,
        1e-5,
        False,
    ),
    "layer_norm": (aten.layer_norm.default, X, [5], T(5), T(5)),
    "group_norm": (aten.group_norm.default, IMAGE, 3, LINE, LINE),
    "attention": (ATTENTION, Q, K, V),
    "max_pool2d": (aten.max_pool2d.default, IMAGE, [2, 2]),
    "avg_pool2d": (aten.avg_pool2d.default, IMAGE, [2, 2]),
    "adaptive": (aten.adaptive_avg_pool2d.default, IMAGE, [1, 1]),
    "upsample": (aten.upsample_nearest2d.vec, IMAGE, None, [2.0, 2.0]),
    "bicubic": (aten.upsample_bicubic2d.vec, IMAGE, [9, 9], False, None),
}

# Where the rule can do what the probe cannot: statistics of those kept, sizes rewritten, halves
# that go together, borders, channels that end up beside others.
MORE_STRICT = {
    "instance_norm",
    *(
        "mean",
        "mean space",
        "amax",
        "amin",
        "logsumexp",
        "var",
        "var_mean",
        "glu",
        "cat",
        "cat other",
        "pad",
        "pad space",
        "flip",
        "repeat",
    ),
    *("pixel_shuffle", "conv depthwise", "conv grouped", "layer_norm", "group_norm", "attention"),
}


def leaf_atoms(found: Labelled) -> int:
    """How many atoms the arguments have; they are the first, and the same whatever the rule."""
    slots = [slot for n in tensor_nodes(found.node) for slot in found.context.of(n)]
    return sum(slot.numel() for slot in slots)


@pytest.mark.parametrize("name", CALLS)
def test_never_less_strict_than_the_rule(name: str) -> None:
    op, *args = CALLS[name]
    node = call(op, *args)
    rule = find_rule(op)
    assert rule is not None
    hand, found = labelled(node, rule.label), labelled(node, label_probed)
    atoms = np.arange(leaf_atoms(found))
    free, free_by_hand = found.free()[atoms], hand.free()[atoms]
    assert not (free & ~free_by_hand).any()
    for one in np.unique(hand.classes[atoms]):  # what the rule couples, the probe does too
        together = found.classes[atoms[free & (hand.classes[atoms] == one)]]
        assert np.unique(together).size <= 1
        assert free[hand.classes[atoms] == one].all() or not together.size
    assert (name in MORE_STRICT) == bool((free_by_hand & ~free).any())


@pytest.mark.parametrize("name", CALLS)
def test_what_is_found_holds_for_other_data(name: str) -> None:
    op, *args = CALLS[name]
    removed = check_by_force(call(op, *args))
    assert removed or name in ("conv grouped", "group_norm", "pixel_shuffle", "attention")


def check_by_force(node: fx.Node, draws: int = 4) -> int:
    """Remove random free classes, and compare with zeros in their place; how many went in all."""
    found = labelled(node, label_probed)
    signature = signature_of(node)
    if isinstance(signature, str):
        return 0
    arguments = tensor_nodes(node)
    generator = torch.Generator().manual_seed(99)
    removed = 0
    for _ in range(draws):
        keep = found.random_keep(generator)
        removed += int((~keep.atoms).sum())
        data = [
            torch.rand(t.shape, generator=generator) < 0.5
            if t.dtype is torch.bool
            else 3 * torch.randn(t.shape, generator=generator) + 0.5
            for t in signature.tensors
        ]
        labels = [found.context.of(n) for n in arguments]
        small = signature.run([keep.take(x, one) for x, one in zip(data, labels, strict=True)])
        masked = signature.run(
            [
                x.masked_fill(~keep.mask(one, tuple(x.shape)), 0)
                for x, one in zip(data, labels, strict=True)
            ]
        )
        assert small is not None
        assert masked is not None
        for have, want, one in zip(small, masked, found.labels, strict=True):
            torch.testing.assert_close(have, keep.take(want, one), equal_nan=True)
    return removed


# -- operators made to fool it -----------------------------------------------------------------


def operator(function: Callable[..., Any], name: str, schema: str = "(Tensor x) -> Tensor") -> Any:
    """The function as an operator of torch, as another library would have it."""
    full = f"graphprune_probe::{name}"
    torch.library.define(full, schema)
    torch.library.impl(full, "CPU")(function)
    return getattr(torch.ops.graphprune_probe, name).default


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


@pytest.mark.parametrize(
    ("op", "arguments", "why"),
    [
        (aten.relu_.default, (T(2, 6),), "memory"),
        (aten.transpose.int, (T(2, 6), 0, 1), "memory"),
        (aten.bernoulli.default, (T(2, 6),), "random"),
        (aten.rand_like.default, (T(2, 6),), "random"),
        (aten.nonzero.default, (T(2, 6),), "shape of its result"),
        (aten.gather.default, (T(2, 6), 1, torch.zeros(2, 3, dtype=torch.int64)), "int64"),
        (aten.relu.default, (T(2, 6, dtype=torch.float16),), "float16"),
        (aten.relu.default, (T(2**13, 2**13, device="meta"),), "too large"),
    ],
)
def test_what_may_not_be_tried_out_is_not(op: Any, arguments: Any, why: str) -> None:
    node = call(aten.relu.default, T(2, 6))
    graph, root = node.graph, tensor_nodes(node)[0]
    tensors = [root]
    root.meta["val"] = arguments[0]
    given: list[Any] = [root]
    for argument in arguments[1:]:
        if isinstance(argument, Tensor):
            with graph.inserting_before(node):
                extra = graph.get_attr("w0")
            extra.meta["val"] = argument
            tensors.append(extra)
            argument = extra
        given.append(argument)
    node.target, node.args = op, tuple(given)
    node.meta["val"] = arguments[0]
    found = signature_of(node)
    assert isinstance(found, str)
    assert why in found


def test_a_size_among_the_arguments_is_a_size() -> None:
    op = operator(lambda x, n: x * 2, "sized", "(Tensor x, int[] n) -> Tensor")
    free, held = probed(op, T(2, 6, 5), [4]), probed(op, T(2, 6, 5), [6])
    assert isinstance(free, Findings)
    assert isinstance(held, Findings)
    assert {axis.members[0] for axis in free.axes} == {(0, 0), (0, 1), (0, 2)}
    assert {axis.members[0] for axis in held.axes} == {(0, 0), (0, 2)}
    assert held.why[0, 1] == "the size 6 stands among its arguments"


def test_the_random_state_is_left_as_it_was() -> None:
    signature = signature_of(call(operator(torch.sin, "untouched"), T(2, 6, 5)))
    assert isinstance(signature, Signature)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert probe(signature, places(signature)).axes
    assert torch.equal(torch.rand(3), expected)


def test_an_operator_is_probed_once_for_equal_calls() -> None:
    runs = []

    def counted(x: Tensor) -> Tensor:
        runs.append(1)
        return x.sin()

    op = operator(counted, "counted")
    probed(op, T(2, 6, 5))
    once = len(runs)
    probed(op, T(2, 6, 5))
    assert len(runs) == once + 1  # the one run is this test's own


def test_labels_of_a_grid_lose_the_same_columns_in_every_row() -> None:
    op = operator(torch.sin, "on_a_grid")
    node = call(op, T(4, 6))
    context = Context(node=node)
    (argument,) = tensor_nodes(node)
    context.labels[argument] = (context.store.allocate(24).reshape(4, 6),)
    labels = label_probed(context, node)
    assert isinstance(labels, tuple)
    (slot,) = labels
    assert tuple(slot.shape) == (1, 6)
    roots = context.store.roots().reshape(4, 6)
    assert (roots == roots[:1]).all()
    assert np.unique(roots).size == 6
    assert not context.store.pins
