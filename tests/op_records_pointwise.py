"""Records of element-wise operators and of norms."""

from __future__ import annotations

import torch
from op_record import Record as R
from torch.nn import functional as F

MOVED = "b c h w -> b c h w"

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
    R(
        "type_as",
        "b c n -> b c n",
        lambda x, s: x.type_as(s["like"]) * 2,
        buffers={"like": torch.zeros(4, 4, dtype=torch.float64)},
    ),
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

NORMS = [
    R(
        "batch_norm",
        "b c h w, c, c, c, c -> b c h w",
        lambda x, m, v, w, b, s: F.batch_norm(x, m, v, w, b),
    ),
    R(
        "batch_norm by the batch",
        "b c h w, c, c -> b c h w",
        lambda x, w, b, s: F.batch_norm(x, None, None, w, b, training=True),
    ),
    R(
        "instance_norm",
        "b c h w, c, c -> b c h w",
        lambda x, w, b, s: F.instance_norm(x, weight=w, bias=b) + x,
    ),
    R("layer_norm", "b n c, c, c -> b n c", lambda x, w, b, s: F.layer_norm(x, (s["c"],), w, b)),
    R("rms_norm", "b n c, c -> b n c", lambda x, w, s: F.rms_norm(x, (s["c"],), w, 1e-3)),
    R(
        "group_norm of one",
        "b c w, c, c -> b c w",
        lambda x, w, b, s: F.group_norm(x, 1, w, b),
        locked="w",
    ),
    R(
        "group_norm of all",
        "b c w, c, c -> b c w",
        lambda x, w, b, s: F.group_norm(x, s["c"], w, b) + x,
        locked="w",
    ),
]
