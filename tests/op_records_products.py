"""Records of products over named dimensions: einsum and what can be said in its terms."""

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
