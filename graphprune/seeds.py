"""One rule for seeds, wherever they are given."""

from __future__ import annotations

import numpy as np

from graphprune.errors import UsageError

LARGEST = 2**63 - 1
"""What fits int64; torch would take more, and numbers below 0 too, numpy neither."""


def check_seed(seed: object, name: str = "seed") -> None:
    """Refuse what cannot seed every generator that is used; ``name`` says where it was given.

    Raises:
        UsageError: it is no whole number from 0 to :data:`LARGEST`.
    """
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= int(seed) <= LARGEST:  # type: ignore[call-overload]
        raise UsageError(f"{name} is {seed!r}; give a whole number from 0 to 2^63 - 1")
