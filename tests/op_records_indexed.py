"""Records of what picks and adds along one dimension, takes windows, or does one step in time."""

from __future__ import annotations

import torch
from op_record import Record
from torch.nn import functional as F

aten = torch.ops.aten

R = Record
Tensor = torch.Tensor
_PLACES = torch.tensor([2, 0, 2])
_TURNED = torch.tensor([2, 0, 1])


def _index(x: Tensor, channels: int) -> Tensor:
    """Places along a dimension of three, for every channel the same."""
    return _PLACES.view(1, 1, 3).expand(x.shape[0], channels, 3)


def _places(kept: list[int]) -> Tensor:
    """Those of the places that are kept; all of them as they are, without an operation."""
    return _PLACES if len(kept) == len(_PLACES) else _PLACES[kept]


def _times_two(x: Tensor) -> Tensor:
    return x * 2


EXTREMES = [
    R("max with its place unasked", "b c h w -> b h w", lambda x, s: (x - 5).max(1)[0]),
    R("min with its place unasked", "b c h w -> b h w", lambda x, s: (x + 5).min(1)[0]),
    R("max of all", "b c w -> b c w", lambda x, s: x - (x - 5).max()),
    R("max with its place asked", "b c w -> b c w", lambda x, s: x + x.max(1)[1][:, None], ""),
]


def _turned(x: Tensor, mask: Tensor) -> Tensor:
    """Rows that a mask marks, in the opposite order."""
    y = x.clone()
    y[mask] = x[mask].flip(0)
    return y


def _turned_behind(x: Tensor, mask: Tensor) -> Tensor:
    y = x.clone()
    y[:, mask] += x[:, mask].flip(1)
    return y


MASKED = [
    R("rows by a mask", "b n c, b n -> b n c", lambda x, y, s: _turned(x, y < 0.1), locked="n"),
    R(
        "by a mask behind",
        "b n c, n -> b n c",
        lambda x, y, s: _turned_behind(x, y < 9),
        locked="n",
    ),
    R(
        "by a mask at the end",
        "b c n, n -> b c",
        lambda x, y, s: x[..., y < 9][..., 0],
        locked="n",
    ),
    R("elements by a mask", "b n c -> b n c", lambda x, s: _turned(x, x < 0.1), "", locked="n"),
    R(
        "masked_scatter rows",
        "b n c, b n, b n c -> b n c",
        lambda x, y, z, s: x.masked_scatter((y < 0.1)[..., None], z),
        locked="n",
    ),
    R(
        "masked_scatter_ rows",
        "b n c, b n, b n c -> b n c",
        lambda x, y, z, s: x.clone().masked_scatter_((y < 0.1)[..., None], z),
        locked="n",
    ),
    R("index_fill", "b n c -> b n c", lambda x, s: x.index_fill(1, _PLACES, 0.5), locked="n"),
    R(
        "index_fill_",
        "b n c -> b n c",
        lambda x, s: _times_two(x).index_fill_(1, _PLACES[:1], 0.5),
        locked="n",
    ),
    R(
        "masked_scatter elements",
        "b n c, b n c -> b n c",
        lambda x, y, s: x.masked_scatter(y < 0.1, y),
        "",
        locked="n",
    ),
]

INDEXED = [
    R("gather", "b c n -> b c n", lambda x, s: x.gather(2, _index(x, s["c"])), locked="n"),
    R(
        "gather by computed places",
        "b c n, b c n -> b c n",
        lambda x, y, s: x.gather(2, y.argsort(2)),
        locked="n",
    ),
    R(
        "gather by repeated places",
        "b c n -> b c n",
        lambda x, s: x.gather(2, _PLACES.view(1, 1, 3).repeat(x.shape[0], s["c"], 1)),
        locked="n",
    ),
    R(
        "gather channels",
        "b c n -> b c n",
        lambda x, s: x.gather(1, _places(s["kept_n"]).repeat(2, 6, 1)),
        "",
    ),
    R(
        "scatter",
        "b c n, b c z -> b c n",
        lambda x, y, s: x.scatter(2, _index(x, s["c"])[..., :2], y),
        locked="n z",
    ),
    R(
        "scatter of as many",
        "b c n, b c n -> b c n",
        lambda x, y, s: x.scatter(2, _TURNED.expand_as(x), y),
        locked="n",
    ),
    R(
        "scatter_",
        "b c n -> b c n",
        lambda x, s: _times_two(x).scatter_(2, _index(x, s["c"])[..., :1], 7.0),
        locked="n",
    ),
    R(
        "scatter_add",
        "b c n, b c n -> b c n",
        lambda x, y, s: x.scatter_add(2, _index(x, s["c"]), y),
        locked="n",
    ),
    R(
        "scatter_add_",
        "b c n -> b c n",
        lambda x, s: torch.zeros_like(x).scatter_add_(2, _index(x, s["c"]), x),
        locked="n",
    ),
    R(
        "scatter_reduce",
        "b c n, b c n -> b c n",
        lambda x, y, s: x.scatter_reduce(2, _index(x, s["c"]), y, "amax"),
        locked="n",
    ),
    R(
        "scatter_reduce_",
        "b c n, b c n -> b c n",
        lambda x, y, s: _times_two(x).scatter_reduce_(2, _index(x, s["c"]), y, "mean"),
        locked="n",
    ),
    R(
        "index_add",
        "b c n, b c n -> b c n",
        lambda x, y, s: x.index_add(2, _PLACES, y, alpha=3),
        locked="n",
    ),
    R(
        "index_add_",
        "b c n, b c n -> b c n",
        lambda x, y, s: _times_two(x).index_add_(2, _PLACES, y),
        locked="n",
    ),
    R(
        "index_copy",
        "b c n, b c n -> b c n",
        lambda x, y, s: x.index_copy(2, _TURNED, y),
        locked="n",
    ),
    R(
        "index_copy_",
        "b c n, b c n -> b c n",
        lambda x, y, s: _times_two(x).index_copy_(2, _TURNED, y),
        locked="n",
    ),
    R(
        "index_reduce",
        "b c n, b c n -> b c n",
        lambda x, y, s: x.index_reduce(2, _PLACES, y, "amax"),
        locked="n",
    ),
    R(
        "index_reduce_",
        "b c n, b c n -> b c n",
        lambda x, y, s: _times_two(x).index_reduce_(2, _PLACES, y, "mean"),
        locked="n",
    ),
    R(
        "expand_as",
        "b c n, b c one -> b c n",
        lambda x, y, s: aten.expand_as(y, x),
    ),
]

UNFOLDED = [
    R(
        "grid_sample",
        "b c h w, b n k z -> b c n k",
        lambda x, places, s: F.grid_sample(x, places, align_corners=False),
        locked="h w n k",
        cautious="n k",
    ),
    R(
        "grid_sample in three dimensions",
        "b c h w g, b n k o one three -> b c n k o",
        lambda x, places, s: F.grid_sample(x, places.squeeze(-2), align_corners=False),
        sizes={"three": 3},
        locked="h w g n k three",
        cautious="n k",
    ),
    R(
        "im2col",
        "b c h w -> b o n",
        lambda x, s: F.unfold(x, 2, stride=2),
        sizes={"o": 24, "n": 4},
        maps={"o": lambda k: [4 * c + i for c in k["c"] for i in range(4)]},
        locked="h w",
    ),
    R(
        "col2im",
        "b c n -> b d h w",
        lambda x, s: F.fold(x, (4, 4), 2, stride=2),
        sizes={"c": 12, "d": 3, "n": 4},
        maps={"d": lambda k: sorted({c // 4 for c in k["c"]})},
        locked="n",
        choices={"c": 3},
    ),
]


def _cell(kind: str, gates: int) -> Record:
    """One step of a recurrent net, all gates of which have the same weights but for a factor."""
    function = getattr(torch, f"{kind}_cell")

    def call(x: Tensor, h: Tensor, w: Tensor, u: Tensor, s: dict[str, int]) -> Tensor:
        weights = [torch.cat([part * (gate + 1) for gate in range(gates)]) for part in (w, u)]
        given = (h, h * 0.5) if kind == "lstm" else h
        result = function(x, given, *weights)
        return result[0] * result[1] if kind == "lstm" else result

    return R(f"{kind}_cell", "b d, b c, c d, c c -> b c", call, "c d")


CELLS = [_cell("lstm", 4), _cell("gru", 3), _cell("rnn_tanh", 1), _cell("rnn_relu", 1)]
