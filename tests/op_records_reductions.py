"""Records of sums, statistics and all else that sees every element of a dimension."""

from __future__ import annotations

import torch
from op_record import Record as R

REDUCTIONS = [
    R("sum", "b c h w -> b h w", lambda x, s: x.sum(1)),
    R("sum over space", "b c h w -> b c", lambda x, s: x.sum((2, 3))),
    R("mean", "b c h w -> b h w", lambda x, s: x.mean(1)),
    R("mean over space", "b c h w -> b c", lambda x, s: x.mean((-1, -2))),
    R("var", "b c h w -> b h w", lambda x, s: x.var(1)),
    R("std", "b c h w -> b h w", lambda x, s: x.std(1, correction=0)),
    R("var_mean", "b c h w -> b h w", lambda x, s: sum(torch.var_mean(x, 1))),
    R("std_mean", "b c h w -> b h w", lambda x, s: sum(torch.std_mean(x, 1))),
    R("amax", "b c h w -> b h w", lambda x, s: (x - 5).amax(1)),
    R("amin", "b c h w -> b h w", lambda x, s: (x + 5).amin(1)),
    R("aminmax over space", "b c w -> b c", lambda x, s: sum(torch.aminmax(x, dim=2)), locked="w"),
    R("max over space", "b c w -> b c", lambda x, s: x.max(2)[0]),
    R("min over space", "b c w -> b c", lambda x, s: x.min(2)[0]),
    R("median over space", "b c w -> b c", lambda x, s: x.median(2)[0], locked="w"),
    R("prod over space", "b c w -> b c", lambda x, s: x.prod(2), locked="w"),
    R("logsumexp", "b c h w -> b h w", lambda x, s: x.logsumexp(1)),
    R("argmax over space", "b c w -> b c", lambda x, s: x.argmax(2) * x.sum(2), locked="w"),
    R("argmin over space", "b c w -> b c", lambda x, s: x.argmin(2) * x.sum(2), locked="w"),
    R(
        "any over space",
        "b c w -> b c",
        lambda x, s: (x > 0).any(2) * x.sum(2),
        locked="w",
        cautious="w",
    ),
    R("all over space", "b c w -> b c", lambda x, s: (x.abs() > 0).all(2) * x.sum(2), locked="w"),
    R("vector norm", "b c h w -> b h w", lambda x, s: torch.linalg.vector_norm(x, dim=1)),
    R("norm", "b c h w -> b h w", lambda x, s: x.norm(dim=1)),
    R("softmax over space", "b c w -> b c w", lambda x, s: x.softmax(2), locked="w"),
    R("softmax", "b c w -> b c w", lambda x, s: x.softmax(1), ""),
    R("log_softmax over space", "b c w -> b c w", lambda x, s: x.log_softmax(2), locked="w"),
    R("cumsum over space", "b c w -> b c w", lambda x, s: x.cumsum(2), locked="w", cautious="w"),
    R("cumsum", "b c w -> b c w", lambda x, s: x.cumsum(1), "", cautious="c"),
    R("cumprod over space", "b c w -> b c w", lambda x, s: x.cumprod(2), locked="w"),
    R("logcumsumexp over space", "b c w -> b c w", lambda x, s: x.logcumsumexp(2), locked="w"),
    R("sort over space", "b c w -> b c w", lambda x, s: x.sort(2)[0], locked="w"),
    R("sort", "b c w -> b c w", lambda x, s: x.sort(1)[0], ""),
    R("argsort over space", "b c w -> b c w", lambda x, s: x.argsort(2) * x, locked="w"),
    R("topk over space", "b c w -> b c n", lambda x, s: x.topk(3, 2)[0], locked="w"),
]
