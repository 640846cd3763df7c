"""Records of data movement, and of tensors that the graph makes to lay beside others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_record import Record
from torch.nn import functional as F

aten = torch.ops.aten

MOVED = "b c h w -> b c h w"
R = Record


def _halved(kept: dict[str, list[int]]) -> list[int]:
    """The first half of what is kept, where both halves keep the same."""
    return [position for position in kept["c"] if position < 3]


def _borders(sizes: dict[str, Any]) -> tuple[int, int]:
    """How much is left of a border of one before and one behind."""
    return sizes["kept_n"].count(0), sizes["kept_n"].count(5)


def _bordered(kept: dict[str, list[int]]) -> list[int]:
    """What is kept of a dimension with its borders, each of which may go by itself."""
    return [n for n in kept["n"] if n in (0, 5) or n - 1 in kept["w"]]


def _beside(kept: dict[str, list[int]]) -> list[int]:
    """What is kept of two dimensions side by side."""
    return [*kept["n"], *(3 + k for k in kept["k"])]


_TURNED = [2, 0, 1]


def _order(sizes: dict[str, Any]) -> torch.Tensor:
    """Places to select, numbered among what is kept."""
    kept = sizes["kept_w"]
    if set(_TURNED) <= set(kept):
        return sizes["order"]
    return torch.tensor([kept.index(place) for place in _TURNED if place in kept])


MOVES = [
    R("permute", "b c h w -> b h w c", lambda x, s: x.permute(0, 2, 3, 1)),
    R(
        "flatten",
        "b c n -> b o",
        lambda x, s: x.flatten(1),
        sizes={"o": 18},
        maps={"o": lambda k: [3 * c + n for c in k["c"] for n in k["n"]]},
    ),
    R(
        "view",
        "b n c -> b h w c",
        lambda x, s: x.view(2, s["n"] // 4, 4, -1),
        sizes={"n": 16},
        maps={"h": lambda k: sorted({n // 4 for n in k["n"]})},
        choices={"n": 4},
    ),
    R(
        "reshape",
        "b c h w -> b c n",
        lambda x, s: x.reshape(2, s["c"], s["h"] * s["w"]),
        sizes={"n": 16},
        maps={"n": lambda k: [4 * h + w for h in k["h"] for w in k["w"]]},
    ),
    R("unsqueeze", "b c n -> b c one n", lambda x, s: x.unsqueeze(2)),
    R("squeeze", "b c one n -> b c n", lambda x, s: x.squeeze(2)),
    R("expand", "b c one -> b c w", lambda x, s: x.expand(2, s["c"], 4)),
    R("clone", MOVED, lambda x, s: x.clone()),
    R(
        "flip",
        "b c n -> b o n",
        lambda x, s: x.flip(1),
        sizes={"o": 6},
        maps={"o": lambda k: sorted(5 - c for c in k["c"])},
    ),
    R(
        "slice",
        "b c n -> b o n",
        lambda x, s: x[:, sum(c < 2 for c in s["kept_c"]) :],
        sizes={"o": 4},
        maps={"o": lambda k: [c - 2 for c in k["c"] if c >= 2]},
    ),
    R(
        "narrow space",
        "b c w -> b c n",
        lambda x, s: x.narrow(2, s["kept_w"].count(0), s["w"] - s["kept_w"].count(0)),
        maps={"n": lambda k: [w - 1 for w in k["w"] if w]},
    ),
    R(
        "select space",
        "b c w -> b c",
        lambda x, s: x.select(2, s["kept_w"].index(1)),
        choices={"w": 3},
    ),
    R("unbind space", "b c w -> b c", lambda x, s: x.unbind(2)[1], locked="w"),
    R(
        "unfold",
        "b c w -> b c n z",
        lambda x, s: x.unfold(2, 2, 1),
        maps={"n": lambda k: [w for w in k["w"] if w + 1 in k["w"]]},
        locked="w",
    ),
    R(
        "diagonal",
        "b c h w -> b c n",
        lambda x, s: x.diagonal(0, 2, 3),
        sizes={"n": 4},
        maps={"n": lambda k: [h for h in k["h"] if h in k["w"]]},
        locked="h w",
    ),
    R(
        "cat",
        "b c n, b d n -> b o n",
        lambda x, y, s: torch.cat([x, y], 1),
        "c d",
        sizes={"o": 12},
        maps={"o": lambda k: [*k["c"], *(6 + d for d in k["d"])]},
    ),
    R(
        "concat",
        "b c n, b c k -> b c o",
        lambda x, y, s: torch.concat([x, y], 2),
        sizes={"o": 6},
        maps={"o": _beside},
    ),
    R(
        "concatenate",
        "b c n, b c k -> b c o",
        lambda x, y, s: torch.concatenate([x, y], 2),
        sizes={"o": 6},
        maps={"o": _beside},
    ),
    R("stack", "b c n, b c n -> b c z n", lambda x, y, s: torch.stack([x, y], 2)),
    R(
        "chunk space",
        "b c w -> b c n",
        lambda x, s: x.chunk(2, 2)[1] if s["w"] == 6 else x[..., sum(w < 3 for w in s["kept_w"]) :],
        sizes={"w": 6},
        maps={"n": lambda k: [w - 3 for w in k["w"] if w >= 3]},
    ),
    R(
        "tensor_split space",
        "b c w -> b c n",
        lambda x, s: (
            x.tensor_split(2, 2)[1] if s["w"] == 6 else x[..., sum(w < 3 for w in s["kept_w"]) :]
        ),
        sizes={"w": 6},
        maps={"n": lambda k: [w - 3 for w in k["w"] if w >= 3]},
    ),
    R(
        "chunk",
        "b c n -> b d n",
        lambda x, s: sum(x.chunk(2, 1)),
        sizes={"d": 3},
        maps={"d": _halved},
        choices={"c": 3},
    ),
    R(
        "split",
        "b c n -> b d n",
        lambda x, s: sum(x.split(s["c"] // 2, 1)),
        sizes={"d": 3},
        maps={"d": _halved},
        choices={"c": 3},
    ),
    R(
        "tensor_split",
        "b c n -> b d n",
        lambda x, s: sum(x.tensor_split(2, 1)),
        sizes={"d": 3},
        maps={"d": _halved},
        choices={"c": 3},
    ),
    R(
        "glu",
        "b c n -> b d n",
        lambda x, s: F.glu(x, 1),
        sizes={"d": 3},
        maps={"d": _halved},
        choices={"c": 3},
    ),
    R(
        "repeat",
        "b c n -> b o n",
        lambda x, s: x.repeat(1, 2, 1),
        sizes={"o": 12},
        maps={"o": lambda k: [*k["c"], *(6 + c for c in k["c"])]},
    ),
    R(
        "tile",
        "b c n -> b o n",
        lambda x, s: x.tile(1, 2, 1),
        sizes={"o": 12},
        maps={"o": lambda k: [*k["c"], *(6 + c for c in k["c"])]},
    ),
    R(
        "repeat_interleave",
        "b c n -> b o n",
        lambda x, s: x.repeat_interleave(2, 1),
        sizes={"o": 12},
        maps={"o": lambda k: [2 * c + i for c in k["c"] for i in range(2)]},
    ),
    R(
        "pad space",
        "b c w -> b c n",
        lambda x, s: F.pad(x, _borders(s), value=0.5),
        sizes={"n": 6},
        maps={"n": _bordered},
    ),
    R(
        "constant_pad_nd",
        "b c w -> b c n",
        lambda x, s: aten.constant_pad_nd(x, _borders(s), 0.5),
        sizes={"n": 6},
        maps={"n": _bordered},
    ),
    R(
        "pad beside channels",
        "b c n, b d n -> b d n",
        lambda x, y, s: y + F.pad(x, (0, 0, s["kept_d"].count(0), s["kept_d"].count(5))),
        "c d",
        sizes={"c": 4},
        choices={"c": 6},
    ),
    R(
        "constant_pad_nd beside channels",
        "b c n, b d n -> b d n",
        lambda x, y, s: (
            y + aten.constant_pad_nd(x, (0, 0, s["kept_d"].count(0), s["kept_d"].count(5)), 0.5)
        ),
        "c d",
        sizes={"c": 4},
        choices={"c": 6},
    ),
    R("roll space", "b c w -> b c w", lambda x, s: x.roll(1, 2), locked="w"),
    R("roll", "b c w -> b c w", lambda x, s: x.roll(1, 1), ""),
    R(
        "pixel_shuffle",
        "b c h w -> b d x y",
        lambda x, s: F.pixel_shuffle(x, 2),
        sizes={"c": 12, "d": 3, "x": 8, "y": 8},
        maps={"d": lambda k: sorted({c // 4 for c in k["c"]})},
        locked="h w",
        choices={"c": 3},
    ),
    R(
        "pixel_unshuffle",
        "b c h w -> b o x y",
        lambda x, s: F.pixel_unshuffle(x, 2),
        sizes={"o": 24, "x": 2, "y": 2},
        maps={"o": lambda k: [4 * c + i for c in k["c"] for i in range(4)]},
        locked="h w",
    ),
    R(
        "index space",
        "b c w -> b c n",
        lambda x, s: x[:, :, [s["kept_w"].index(w) for w in _TURNED if w in s["kept_w"]]],
        maps={"n": lambda k: [n for n, w in enumerate(_TURNED) if w in k["w"]]},
    ),
    R(
        "index by numbers",
        "b c w -> b c n",
        lambda x, s: x[:, :, x.sum((0, 1)).argsort(descending=True)[:3]],
        locked="w",
    ),
    R(
        "index_select space",
        "b c w -> b c n",
        lambda x, s: x.index_select(2, _order(s)),
        buffers={"order": torch.tensor(_TURNED)},
        maps={"n": lambda k: [n for n, w in enumerate(_TURNED) if w in k["w"]]},
    ),
    R(
        "index_put rows",
        "b c, b c -> b c",
        lambda x, y, s: x.index_put((torch.tensor([1, 0]),), y, accumulate=True),
    ),
    R(
        "index_put in place",
        "b n c, c -> b n c",
        lambda x, y, s: x.clone().index_put_((torch.tensor([1]), torch.tensor([2])), y),
        locked="n",
    ),
    R("copied", "b c n, b c n -> b c n", lambda x, y, s: x.clone().copy_(y)),
]


def _with_column(name: str, create: Callable[..., Any]) -> Record:
    """A column of constants at the end, which may go by itself."""

    def call(x: torch.Tensor, s: dict[str, Any]) -> torch.Tensor:
        column = create(2, s["c"], s["kept_o"].count(3), dtype=x.dtype)
        return torch.cat([x, column], 2)

    maps = {"o": lambda k: [o for o in k["o"] if o in k["n"] or o == 3]}
    return R(f"{name} and cat", "b c n -> b c o", call, sizes={"o": 4}, maps=maps)


def _filled(*size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(size, dtype=dtype).fill_(0.7)


CREATED = [
    _with_column("zeros", torch.zeros),
    _with_column("ones", torch.ones),
    _with_column("empty", _filled),
    R(
        "full added",
        "b c n -> b c n",
        lambda x, s: x + torch.full((2, s["c"], s["n"]), 0.5, dtype=x.dtype),
    ),
    R("new_zeros added", "b c n -> b c n", lambda x, s: x + x.new_zeros(2, s["c"], s["n"])),
    R("new_ones added", "b c n -> b c n", lambda x, s: x + x.new_ones((2, s["c"], s["n"]))),
    R("new_full added", "b c n -> b c n", lambda x, s: x + x.new_full((2, s["c"], s["n"]), 0.5)),
    R("arange added", "b c n -> b c n", lambda x, s: x + torch.arange(s["c"])[:, None], ""),
]
