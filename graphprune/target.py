"""Pruning targets: what the user asks for, as ``channels=0.5``, ``params=0.3`` or ``macs=0.4``."""

from __future__ import annotations

from dataclasses import dataclass

from graphprune.errors import TargetError

KINDS = ("channels", "params", "macs")


@dataclass(frozen=True)
class Target:
    """Fraction of the dense model that stays.

    Attributes:
        kind: one of ``channels`` (in every group), ``params``, ``macs``.
        fraction: in (0, 1].
    """

    kind: str
    fraction: float

    def __str__(self) -> str:
        return f"{self.kind}={self.fraction:g}"


def parse_target(text: str | Target) -> Target:
    """Read ``kind=fraction``; the fraction may be a percentage (``macs=40%``).

    Raises:
        TargetError: unknown kind, or a fraction outside (0, 1].
    """
    if isinstance(text, Target):
        return text
    kind, equals, value = str(text).partition("=")
    kind, value = kind.strip(), value.strip()
    if kind not in KINDS or not equals:
        known = ", ".join(f"{k}=0.5" for k in KINDS)
        raise TargetError(f"target {text!r} is not understood; use one of {known}")
    try:
        fraction = float(value[:-1]) / 100 if value.endswith("%") else float(value)
    except ValueError:
        raise TargetError(f"target {text!r}: {value!r} is no number; write {kind}=0.5") from None
    if not 0 < fraction <= 1:
        raise TargetError(
            f"target {text!r}: the fraction that stays must be above 0 and at most 1; "
            f"write {kind}=0.5 for one half"
        )
    return Target(kind, fraction)
