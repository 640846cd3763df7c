"""eugenesiow/super-image: the networks that enlarge pictures, with few blocks.

Left out is what cannot be called by itself: RNAN returns nothing, SMSR is for training only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import super_image
from torch import nn

from benchmarks.zoos.pictures import pictures

OPTIONS: dict[str, dict[str, int]] = {
    "A2n": {"nf": 24, "unf": 16, "nb": 2},
    "Awsrn": {"n_resblocks": 2, "block_feats": 48, "n_feats": 16, "n_awru": 2},
    "Carn": {},
    "Ddbpn": {},
    "Drln": {},
    "Drn": {"n_blocks": 2, "n_feats": 16},
    "Edsr": {"n_resblocks": 4, "n_feats": 32},
    "Han": {"n_resgroups": 10, "n_resblocks": 2, "n_feats": 32},
    "Mdsr": {"n_resblocks": 2, "n_feats": 32},
    "Msrn": {"n_blocks": 2, "n_feats": 32},
    "Pan": {"nf": 24, "unf": 16, "nb": 2},
    "Rcan": {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 32},
}


def _network(name: str, options: dict[str, int]) -> tuple[nn.Module, Any]:
    config = getattr(super_image, f"{name}Config")(scale=4, **options)
    return getattr(super_image, f"{name}Model")(config), pictures(2, 3, 32, 32)


MODELS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    name.lower(): partial(_network, name, options) for name, options in OPTIONS.items()
}
