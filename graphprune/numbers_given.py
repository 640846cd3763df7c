"""One rule for numbers that users give: of the right kind, and within bounds."""

from __future__ import annotations

import math
from numbers import Integral, Real

from graphprune.errors import UsageError


def is_number(given: object) -> bool:
    """Whether something is a finite real number; text and truth values are none."""
    return isinstance(given, Real) and not isinstance(given, bool) and math.isfinite(given)


def check_counts(config: object, *names: str) -> None:
    """Refuse fields of a config that are no whole numbers from 1 on.

    Raises:
        UsageError: one is not, by its name.
    """
    for name in names:
        given = getattr(config, name)
        if not isinstance(given, Integral) or isinstance(given, bool):
            raise UsageError(f"{name} must be a whole number, got {given!r}")
        if int(given) < 1:
            raise UsageError(f"{name} must be at least 1, got {given}")
