"""Records of contractions: products, convolutions, attention, lookups in tables."""

from __future__ import annotations

import torch
from op_record import Record as R
from torch.nn import functional as F

PRODUCTS = [
    R("einsum", "b n c, o c -> b n o", lambda x, w, s: torch.einsum("bnc,oc->bno", x, w), "c o"),
    R(
        "einsum without an arrow",
        "b c, c o -> b o",
        lambda x, w, s: torch.einsum("bc,co", x, w),
        "c o",
    ),
    R(
        "einsum with further dimensions",
        "b n c, o c -> b n o",
        lambda x, w, s: torch.einsum("...c, oc -> ...o", x, w),
        "c o",
    ),
    R(
        "einsum of three",
        "b h c, b c w, b c -> b h w",
        lambda x, y, z, s: torch.einsum("bhc,bcw,bc->bhw", x, y, z),
    ),
    R("einsum of one", "b n c -> b n", lambda x, s: torch.einsum("bnc->bn", x)),
    R("einsum that turns", "b n c -> b c n", lambda x, s: torch.einsum("bnc->bcn", x)),
    R("tensordot", "b n c, o c -> b n o", lambda x, w, s: torch.tensordot(x, w, ([2], [1])), "c o"),
    R("inner", "b n c, o c -> b n o", lambda x, w, s: torch.inner(x, w), "c o"),
    R(
        "bilinear",
        "b c, b d, o c d, o -> b o",
        lambda x, y, w, b, s: F.bilinear(x, y, w, b),
        "c d o",
    ),
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
    R(
        "conv1d",
        "b c w, o c k -> b o w",
        lambda x, w, s: F.conv1d(x, w, padding=1),
        "c o",
        locked="w",
    ),
    R(
        "conv2d",
        "b c h w, o c k k, o -> b o h w",
        lambda x, w, b, s: F.conv2d(x, w, b, padding=1),
        "c o",
        locked="h w",
    ),
    R(
        "conv2d same",
        "b c h w, o c k k -> b o h w",
        lambda x, w, s: F.conv2d(x, w, padding="same"),
        "c o",
        locked="h w",
    ),
    R("conv3d", "b c z h w, o c one one one -> b o z h w", lambda x, w, s: F.conv3d(x, w), "c o"),
    R(
        "depthwise",
        "b c h w, c one k k, c -> b c h w",
        lambda x, w, b, s: F.conv2d(x, w, b, padding=1, groups=s["c"]),
        locked="h w",
    ),
    R(
        "grouped",
        "b c w, c n k -> b c w",
        lambda x, w, s: F.conv1d(x, w, padding=1, groups=2),
        "c n",
        oracle="zero",
        locked="w",
        choices={"n": 6},
    ),
    R(
        "transposed 1d",
        "b c w, c o k -> b o w",
        lambda x, w, s: F.conv_transpose1d(x, w, padding=1),
        "c o",
        locked="w",
    ),
    R(
        "transposed 2d",
        "b c h w, c o k k, o -> b o h w",
        lambda x, w, b, s: F.conv_transpose2d(x, w, b, padding=1),
        "c o",
        locked="h w",
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
        locked="k",
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
