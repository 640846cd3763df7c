"""Records of operators that Python code seldom calls by name: decomposed, functional, in place."""

from __future__ import annotations

import torch
from op_record import Record
from torch.nn import functional as F

aten = torch.ops.aten

R = Record
MOVED = "b c h w -> b c h w"
NONE = [0, 0]
_ENDS = torch.tensor([1, 2], dtype=torch.int32)

DECOMPOSED = [
    R("aten _softmax", "b c w -> b c w", lambda x, s: aten._softmax(x, 2, False), locked="w"),
    R(
        "aten _log_softmax",
        "b c w -> b c w",
        lambda x, s: aten._log_softmax(x, 2, False),
        locked="w",
    ),
    R("aten _to_copy", MOVED, lambda x, s: aten._to_copy(x, dtype=torch.float64)),
    R(
        "aten _unsafe_view",
        "b c n -> b c n",
        lambda x, s: aten._unsafe_view(x, (2, s["c"], s["n"])),
    ),
    R("aten alias", MOVED, lambda x, s: aten.alias(x)),
    R("aten lift_fresh", MOVED, lambda x, s: aten.lift_fresh(x)),
    R("aten norm", "b c h w -> b h w", lambda x, s: aten.norm(x, 2, [1])),
    R("mv", "b c, c -> b", lambda x, w, s: torch.mv(x, w)[:, None]),
    R(
        "aten convolution",
        "b c h w, o c k k -> b o h w",
        lambda x, w, s: aten.convolution(x, w, None, [1, 1], [1, 1], [1, 1], False, NONE, 1),
        "c o",
        locked="h w",
    ),
    R(
        "aten convolution, transposed",
        "b c h w, c o k k -> b o h w",
        lambda x, w, s: aten.convolution(x, w, None, [1, 1], [1, 1], [1, 1], True, NONE, 1),
        "c o",
        locked="h w",
    ),
    R(
        "aten max_pool2d_with_indices",
        "b c h w -> b c H W",
        lambda x, s: F.max_pool2d(x, 2, return_indices=True)[0],
        locked="h w",
        sizes={"H": 2, "W": 2},
    ),
    R(
        "_grouped_mm",
        "b c, g c o -> b o",
        lambda x, w, s: torch._grouped_mm(x.bfloat16(), w.bfloat16(), _ENDS.clone()).double(),
        "c o",
        sizes={"c": 16, "o": 16},  # in steps of 16 bytes
    ),
    R(
        "aten max_pool3d_with_indices",
        "b c z h w -> b c Z H W",
        lambda x, s: F.max_pool3d(x, 2, return_indices=True)[0],
        locked="z h w",
        sizes={"z": 4, "Z": 2, "H": 2, "W": 2},
    ),
    R(
        "aten split_with_sizes",
        "b c n -> b d n",
        lambda x, s: sum(aten.split_with_sizes(x, [s["c"] // 2] * 2, 1)),
        sizes={"d": 3},
        maps={"d": lambda k: [position for position in k["c"] if position < 3]},
        choices={"c": 3},
    ),
]

IN_PLACE = [
    R("hardswish_", MOVED, lambda x, s: F.hardswish(x * 1, inplace=True)),
    R("masked_fill_", MOVED, lambda x, s: (x * 1).masked_fill_(x > 0.1, 2.0)),
    R("multiply_", "b c n, c n -> b c n", lambda x, y, s: (x * 1).multiply_(y)),
    R("zero_", MOVED, lambda x, s: x + (x * 1).zero_()),
    R("zero", MOVED, lambda x, s: x + aten.zero(x)),
    R("fill of a tensor", MOVED, lambda x, s: x * aten.fill(x, 3)),
    R("copy of a tensor", "b c n, b c n -> b c n", lambda x, y, s: aten.copy(x, y)),
    R("dropout_", MOVED, lambda x, s: F.dropout(x * 1, 0.5, False, inplace=True)),
    R("feature_alpha_dropout", MOVED, lambda x, s: F.feature_alpha_dropout(x, 0.5, False)),
    R(
        "feature_alpha_dropout_",
        MOVED,
        lambda x, s: F.feature_alpha_dropout(x * 1, 0.5, False, True),
    ),
    R("feature_dropout_", MOVED, lambda x, s: F.dropout2d(x * 1, 0.5, False, inplace=True)),
    R("alpha_dropout_", MOVED, lambda x, s: F.alpha_dropout(x * 1, 0.5, False, inplace=True)),
    R("rrelu_", MOVED, lambda x, s: F.rrelu(x * 1, inplace=True)),
    R("slice written to", "b c w -> b c w", lambda x, s: _written(x), choices={"w": 2}),
    R("empty_like", MOVED, lambda x, s: x + torch.empty_like(x).fill_(0.7)),
    R("new_empty", "b c n -> b c n", lambda x, s: x + x.new_empty((2, s["c"], s["n"])).fill_(0.7)),
]


def _recurrent(kind: str, gates: int) -> Record:
    """A recurrent layer, all gates of which have the same weights but for a factor."""
    function = getattr(torch, kind)

    def call(x: torch.Tensor, w: torch.Tensor, u: torch.Tensor, s: dict[str, int]) -> torch.Tensor:
        state = x.new_zeros(1, 2, s["c"])
        states = (state, state) if kind == "lstm" else state
        weights = [torch.cat([part * (gate + 1) for gate in range(gates)]) for part in (w, u)]
        result: torch.Tensor = function(x, states, weights, False, 1, 0.0, False, False, True)[0]
        return result

    return R(kind, "b n d, c d, c c -> b n c", call, "c d", locked="n")


def _projected() -> Record:
    """An LSTM whose hidden state is a projection of its cells; both are thinned."""

    def call(
        x: torch.Tensor, w: torch.Tensor, u: torch.Tensor, p: torch.Tensor, s: dict[str, int]
    ) -> torch.Tensor:
        states = (x.new_zeros(1, 2, s["o"]), x.new_zeros(1, 2, s["c"]))
        weights = [torch.cat([part * (gate + 1) for gate in range(4)]) for part in (w, u)]
        return torch.lstm(x, states, [*weights, p], False, 1, 0.0, False, False, True)[0]

    return R("lstm, projected", "b n d, c d, c o, o c -> b n o", call, "c d o", locked="n")


RECURRENT = [
    _projected(),
    _recurrent("lstm", 4),
    _recurrent("gru", 3),
    _recurrent("rnn_tanh", 1),
    _recurrent("rnn_relu", 1),
]


def _written(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    half = x.shape[-1] // 2
    y[..., :half] = 0.5
    y[..., half:] += x[..., :half]
    return y
