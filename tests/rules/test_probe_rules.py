"""The deletion probe is never less strict than a rule written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from probing import Labelled, T, aten, call, check_by_force, labelled

from graphprune.rules.probed import label_probed
from graphprune.rules.table import find_rule
from graphprune.rules.trial import tensor_nodes

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
        "max dim",
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
