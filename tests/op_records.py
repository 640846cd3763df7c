"""The table of operators: one record for each rule. See op_record.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from op_record import Record
from op_records_direct import DECOMPOSED, IN_PLACE, RECURRENT
from op_records_indexed import CELLS, EXTREMES, INDEXED, UNFOLDED
from op_records_losses import LOSSES
from op_records_products import PRODUCTS
from op_records_spectral import SPECTRAL
from torch.nn import functional as F

aten = torch.ops.aten

MOVED = "b c h w -> b c h w"
R = Record

POINTWISE = [
    R("relu", MOVED, lambda x, s: x.relu()),
    R("add", "b c h w, c h w -> b c h w", lambda x, y, s: x + y),
    R("multiply two", "b c h w, b c h w -> b c h w", lambda x, y, s: torch.multiply(x, y)),
    R("maximum", "b c n, b c n -> b c n", lambda x, y, s: torch.max(x, y)),
    R("where", "b c n, b c n -> b c n", lambda x, y, s: torch.where(x > 0, x, y)),
    R("dropout", MOVED, lambda x, s: F.dropout(x, 0.5, False)),
    R("feature dropout", MOVED, lambda x, s: F.dropout2d(x, 0.5, False)),
    R("alpha dropout", MOVED, lambda x, s: F.alpha_dropout(x, 0.5, False)),
    R("hardswish", MOVED, lambda x, s: F.hardswish(x)),
    R("log_sigmoid", MOVED, lambda x, s: F.logsigmoid(x)),
    R("rrelu", MOVED, lambda x, s: F.rrelu(x)),
    R(
        "bits",
        MOVED,
        lambda x, s: x * ((x > 0).__and__(x < 1) | (x > 2).__or__(x < -1) ^ (x > 3).__xor__(x > 1)),
    ),
    R("masked_fill", MOVED, lambda x, s: x.masked_fill(x > 0.1, 2.0)),
    R("fill", MOVED, lambda x, s: x + torch.full_like(x, 2) + torch.zeros_like(x)),
    R("ones like", MOVED, lambda x, s: x * torch.ones_like(x).fill_(3)),
    R("to", MOVED, lambda x, s: x.float().to(torch.float64).type_as(x)),
    R("contiguous", "b c n -> b n c", lambda x, s: x.transpose(1, 2).contiguous()),
    R("detach", MOVED, lambda x, s: x.detach() + x),
    R("prelu", "b c n, c -> b c n", lambda x, w, s: F.prelu(x, w)),
    R(
        "fake quantisation",
        "b c n, c, c -> b c n",
        lambda x, w, z, s: torch.fake_quantize_per_channel_affine(
            x.float(), w.float(), (4 * z).int(), 1, -128, 127
        ).double(),
    ),
    R(
        "learnt fake quantisation",
        "b c n, c, c -> b c n",
        lambda x, w, z, s: torch._fake_quantize_learnable_per_channel_affine(
            x.float(), w.float(), z.float(), 1, -128, 127
        ).double(),
    ),
    R(
        "fake quantisation of all",
        MOVED,
        lambda x, s: torch.fake_quantize_per_tensor_affine(x.float(), 0.1, 3, -128, 127).double(),
    ),
    R("prelu of one", "b c n, one -> b c n", lambda x, w, s: F.prelu(x, w)),
    R(
        "weight_norm",
        "b n c, o c, o one -> b n o",
        lambda x, v, g, s: F.linear(x, torch._weight_norm(v, g, 0)),
        "c o",
    ),
    R("renorm", "b n c, o c -> b n o", lambda x, v, s: F.linear(x, v.renorm(2, 0, 0.5)), "c o"),
]

CONTRACTIONS = [
    R("linear", "b n c, o c, o -> b n o", lambda x, w, b, s: F.linear(x, w, b), "c o"),
    R("matmul", "b n c, c o -> b n o", lambda x, w, s: x @ w, "c o"),
    R("matmul of two", "b n c, b c k -> b n k", lambda x, y, s: x @ y),
    R("bmm", "b n c, b c k -> b n k", lambda x, y, s: torch.bmm(x, y)),
    R("matmul with a vector", "b n c, c -> b n", lambda x, w, s: x @ w),
    R("mm", "b c, c o -> b o", lambda x, w, s: torch.mm(x, w), "c o"),
    R("addmm", "o, b c, c o -> b o", lambda b, x, w, s: torch.addmm(b, x, w), "c o"),
    R("baddbmm", "b n k, b n c, b c k -> b n k", lambda a, x, y, s: torch.baddbmm(a, x, y)),
    *PRODUCTS,
    R("conv1d", "b c w, o c k -> b o w", lambda x, w, s: F.conv1d(x, w, padding=1), "c o"),
    R(
        "conv2d",
        "b c h w, o c k k, o -> b o h w",
        lambda x, w, b, s: F.conv2d(x, w, b, padding=1),
        "c o",
    ),
    R(
        "conv2d same",
        "b c h w, o c k k -> b o h w",
        lambda x, w, s: F.conv2d(x, w, padding="same"),
        "c o",
    ),
    R("conv3d", "b c z h w, o c one one one -> b o z h w", lambda x, w, s: F.conv3d(x, w), "c o"),
    R(
        "depthwise",
        "b c h w, c one k k, c -> b c h w",
        lambda x, w, b, s: F.conv2d(x, w, b, padding=1, groups=s["c"]),
    ),
    R(
        "grouped",
        "b c w, c n k -> b c w",
        lambda x, w, s: F.conv1d(x, w, padding=1, groups=2),
        oracle="zero",
    ),
    R(
        "transposed 1d",
        "b c w, c o k -> b o w",
        lambda x, w, s: F.conv_transpose1d(x, w, padding=1),
        "c o",
    ),
    R(
        "transposed 2d",
        "b c h w, c o k k, o -> b o h w",
        lambda x, w, b, s: F.conv_transpose2d(x, w, b, padding=1),
        "c o",
    ),
    R(
        "transposed 3d",
        "b c z h w, c o one one one -> b o z h w",
        lambda x, w, s: F.conv_transpose3d(x, w),
        "c o",
    ),
    R(
        "attention",
        "b n d, b k d, b k c -> b n c",
        lambda q, k, v, s: F.scaled_dot_product_attention(q, k, v, scale=0.4),
        "c d",
    ),
    R(
        "embedding",
        "b n, k c -> b n c",
        lambda x, t, s: F.embedding((x * 0).long() + torch.arange(s["n"]), t),
    ),
    R(
        "embedding bag",
        "b n, k c -> b c",
        lambda x, t, s: F.embedding_bag((x * 0).long() + torch.arange(s["n"]), t, mode="mean"),
    ),
    R(
        "one matrix for each example",
        "b c, k o c -> b o",
        lambda x, w, s: (w[torch.arange(2)] @ x.unsqueeze(-1)).squeeze(-1),
        "c o",
    ),
]

NORMS = [
    R(
        "batch_norm",
        "b c h w, c, c, c, c -> b c h w",
        lambda x, m, v, w, b, s: F.batch_norm(x, m, v, w, b),
    ),
    R(
        "instance_norm",
        "b c h w, c, c -> b c h w",
        lambda x, w, b, s: F.instance_norm(x, weight=w, bias=b) + x,
    ),
    R("layer_norm", "b n c, c, c -> b n c", lambda x, w, b, s: F.layer_norm(x, (s["c"],), w, b)),
    R("rms_norm", "b n c, c -> b n c", lambda x, w, s: F.rms_norm(x, (s["c"],), w, 1e-3)),
    R("group_norm of one", "b c w, c, c -> b c w", lambda x, w, b, s: F.group_norm(x, 1, w, b)),
    R(
        "group_norm of all",
        "b c w, c, c -> b c w",
        lambda x, w, b, s: F.group_norm(x, s["c"], w, b) + x,
    ),
]

REDUCTIONS = [
    R("sum", "b c h w -> b h w", lambda x, s: x.sum(1)),
    R("sum over space", "b c h w -> b c", lambda x, s: x.sum((2, 3))),
    R("mean", "b c h w -> b h w", lambda x, s: x.mean(1)),
    R("mean over space", "b c h w -> b c", lambda x, s: x.mean((-1, -2))),
    R("var", "b c h w -> b h w", lambda x, s: x.var(1)),
    R("std", "b c h w -> b h w", lambda x, s: x.std(1, correction=0)),
    R("var_mean", "b c h w -> b h w", lambda x, s: sum(torch.var_mean(x, 1))),
    R("std_mean", "b c h w -> b h w", lambda x, s: sum(torch.std_mean(x, 1))),
    R("amax", "b c h w -> b h w", lambda x, s: x.amax(1)),
    R("amin", "b c h w -> b h w", lambda x, s: x.amin(1)),
    R("aminmax over space", "b c w -> b c", lambda x, s: sum(torch.aminmax(x, dim=2))),
    R("max over space", "b c w -> b c", lambda x, s: x.max(2)[0]),
    R("min over space", "b c w -> b c", lambda x, s: x.min(2)[0]),
    R("median over space", "b c w -> b c", lambda x, s: x.median(2)[0]),
    R("prod over space", "b c w -> b c", lambda x, s: x.prod(2)),
    R("logsumexp", "b c h w -> b h w", lambda x, s: x.logsumexp(1)),
    R("argmax over space", "b c w -> b c", lambda x, s: x.argmax(2) * x.sum(2)),
    R("argmin over space", "b c w -> b c", lambda x, s: x.argmin(2) * x.sum(2)),
    R("any over space", "b c w -> b c", lambda x, s: (x > 0).any(2) * x.sum(2)),
    R("all over space", "b c w -> b c", lambda x, s: (x > -1).all(2) * x.sum(2)),
    R("vector norm", "b c h w -> b h w", lambda x, s: torch.linalg.vector_norm(x, dim=1)),
    R("norm", "b c h w -> b h w", lambda x, s: x.norm(dim=1)),
    R("softmax over space", "b c w -> b c w", lambda x, s: x.softmax(2)),
    R("softmax", "b c w -> b c w", lambda x, s: x.softmax(1), ""),
    R("log_softmax over space", "b c w -> b c w", lambda x, s: x.log_softmax(2)),
    R("cumsum over space", "b c w -> b c w", lambda x, s: x.cumsum(2)),
    R("cumsum", "b c w -> b c w", lambda x, s: x.cumsum(1), ""),
    R("cumprod over space", "b c w -> b c w", lambda x, s: x.cumprod(2)),
    R("logcumsumexp over space", "b c w -> b c w", lambda x, s: x.logcumsumexp(2)),
    R("sort over space", "b c w -> b c w", lambda x, s: x.sort(2)[0]),
    R("sort", "b c w -> b c w", lambda x, s: x.sort(1)[0], ""),
    R("argsort over space", "b c w -> b c w", lambda x, s: x.argsort(2) * x),
    R("topk over space", "b c w -> b c n", lambda x, s: x.topk(3, 2)[0]),
]


def _halved(kept: dict[str, list[int]]) -> list[int]:
    """The first half of what is kept, where both halves keep the same."""
    return [position for position in kept["c"] if position < 3]


MOVES = [
    R("permute", "b c h w -> b h w c", lambda x, s: x.permute(0, 2, 3, 1)),
    R(
        "flatten",
        "b c n -> b o",
        lambda x, s: x.flatten(1),
        sizes={"o": 18},
        maps={"o": lambda k: [3 * c + i for c in k["c"] for i in range(3)]},
    ),
    R("view", "b n c -> b h w c", lambda x, s: x.view(2, 4, 4, -1), sizes={"n": 16}),
    R("reshape", "b c h w -> b c n", lambda x, s: x.reshape(2, s["c"], 16), sizes={"n": 16}),
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
    R("narrow space", "b c w -> b c n", lambda x, s: x.narrow(2, 1, 3)),
    R("select space", "b c w -> b c", lambda x, s: x.select(2, 1)),
    R("unbind space", "b c z -> b c", lambda x, s: x.unbind(2)[1]),
    R("unfold", "b c w -> b c n z", lambda x, s: x.unfold(2, 2, 1)),
    R("diagonal", "b c h w -> b c n", lambda x, s: x.diagonal(0, 2, 3), sizes={"n": 4}),
    R(
        "cat",
        "b c n, b d n -> b o n",
        lambda x, y, s: torch.cat([x, y], 1),
        "c d",
        sizes={"o": 12},
        maps={"o": lambda k: [*k["c"], *(6 + d for d in k["d"])]},
    ),
    R("concat", "b c n, b c n -> b c o", lambda x, y, s: torch.concat([x, y], 2), sizes={"o": 6}),
    R(
        "concatenate",
        "b c n, b c n -> b c o",
        lambda x, y, s: torch.concatenate([x, y], 2),
        sizes={"o": 6},
    ),
    R("stack", "b c n, b c n -> b c z n", lambda x, y, s: torch.stack([x, y], 2)),
    R("chunk space", "b c w -> b c z", lambda x, s: x.chunk(2, 2)[1]),
    R(
        "chunk",
        "b c n -> b d n",
        lambda x, s: sum(x.chunk(2, 1)),
        sizes={"d": 3},
        maps={"d": _halved},
    ),
    R(
        "split",
        "b c n -> b d n",
        lambda x, s: sum(x.split(s["c"] // 2, 1)),
        sizes={"d": 3},
        maps={"d": _halved},
    ),
    R(
        "tensor_split",
        "b c n -> b d n",
        lambda x, s: sum(x.tensor_split(2, 1)),
        sizes={"d": 3},
        maps={"d": _halved},
    ),
    R("glu", "b c n -> b d n", lambda x, s: F.glu(x, 1), sizes={"d": 3}, maps={"d": _halved}),
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
    R("pad space", "b c w -> b c n", lambda x, s: F.pad(x, (1, 1), value=0.5), sizes={"n": 6}),
    R(
        "constant_pad_nd",
        "b c w -> b c n",
        lambda x, s: aten.constant_pad_nd(x, (1, 1), 0.5),
        sizes={"n": 6},
    ),
    R("roll space", "b c w -> b c w", lambda x, s: x.roll(1, 2)),
    R("roll", "b c w -> b c w", lambda x, s: x.roll(1, 1), ""),
    R(
        "pixel_shuffle",
        "b c h w -> b d h w",
        lambda x, s: F.pixel_shuffle(x, 2),
        sizes={"c": 12, "d": 3},
        maps={"d": lambda k: sorted({c // 4 for c in k["c"]})},
    ),
    R(
        "pixel_unshuffle",
        "b c h w -> b o h w",
        lambda x, s: F.pixel_unshuffle(x, 2),
        sizes={"o": 24},
        maps={"o": lambda k: [4 * c + i for c in k["c"] for i in range(4)]},
    ),
    R("index space", "b c w -> b c n", lambda x, s: x[:, :, [2, 0, 1]]),
    R("index by numbers", "b c w -> b c n", lambda x, s: x[:, :, x.sum((0, 1)).argsort()[:3]]),
    R(
        "index_select space",
        "b c w -> b c n",
        lambda x, s: x.index_select(2, torch.tensor([2, 0, 1])),
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
    ),
    R("copied", "b c n, b c n -> b c n", lambda x, y, s: x.clone().copy_(y)),
]

KINDS = ("avg_pool", "max_pool", "adaptive_avg_pool", "adaptive_max_pool")


def _pooled(kind: str, axes: str) -> Record:
    function = getattr(F, f"{kind}{len(axes.split())}d")
    return R(f"{function.__name__}", f"b c {axes} -> b c {axes}", lambda x, s: function(x, 2))


def _interpolated(mode: str, axes: str) -> Record:
    size = (5,) * len(axes.split())
    form = f"b c {axes} -> b c {axes}"
    return R(f"{mode} {len(size)}d", form, lambda x, s: F.interpolate(x, size, mode=mode))


WINDOWS = [
    *(_pooled(kind, axes) for kind in KINDS for axes in ("w", "h w", "k h w")),
    *(_interpolated(mode, "w") for mode in ("nearest", "linear")),
    *(_interpolated(mode, "h w") for mode in ("nearest", "bilinear", "bicubic")),
    *(_interpolated(mode, "k h w") for mode in ("nearest", "trilinear")),
    R("bilinear smooth", MOVED, lambda x, s: F.interpolate(x, 3, mode="bilinear", antialias=True)),
    R("bicubic smooth", MOVED, lambda x, s: F.interpolate(x, 3, mode="bicubic", antialias=True)),
]


def _with_column(create: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, s: torch.cat([x, create(2, s["c"], 1, dtype=x.dtype)], 2)


def _filled(*size: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(size, dtype=dtype).fill_(0.7)


CREATED = [
    R("zeros and cat", "b c n -> b c o", _with_column(torch.zeros), sizes={"o": 4}),
    R("ones and cat", "b c n -> b c o", _with_column(torch.ones), sizes={"o": 4}),
    R("empty and cat", "b c n -> b c o", _with_column(_filled), sizes={"o": 4}),
    R(
        "full added",
        "b c n -> b c n",
        lambda x, s: x + torch.full((2, s["c"], 3), 0.5, dtype=x.dtype),
    ),
    R("new_zeros added", "b c n -> b c n", lambda x, s: x + x.new_zeros(2, s["c"], 3)),
    R("new_ones added", "b c n -> b c n", lambda x, s: x + x.new_ones((2, s["c"], 3))),
    R("new_full added", "b c n -> b c n", lambda x, s: x + x.new_full((2, s["c"], 3), 0.5)),
    R("arange added", "b c n -> b c n", lambda x, s: x + torch.arange(s["c"])[:, None], ""),
]

FAMILIES = (
    POINTWISE,
    CONTRACTIONS,
    NORMS,
    REDUCTIONS,
    MOVES,
    WINDOWS,
    CREATED,
    DECOMPOSED,
    IN_PLACE,
    RECURRENT,
    EXTREMES,
    INDEXED,
    UNFOLDED,
    CELLS,
    SPECTRAL,
    LOSSES,
)
RECORDS = {record.name: record for family in FAMILIES for record in family}
assert len(RECORDS) == sum(map(len, FAMILIES)), "two records of one name"
