"""Pruning targets: what the user asks for, as ``channels=0.5``, ``macs=0.4`` or ``auto``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphprune.errors import TargetError, UsageError
from graphprune.options import Spec, build

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


@dataclass(frozen=True)
class AutoTarget:
    """No fraction: what the learned posterior holds for unimportant goes.

    Attributes:
        confidence: probability, in [0.5, 1), with which what goes must lie below the cut-off.
        share: the cut-off, in (0, 1]: that part of an equal share of the group, or of the scale
            with which the channel was trained (:meth:`graphprune.switches.base.Switch.below`).

    Raises:
        TargetError: a value outside of these bounds.
    """

    name: ClassVar[str] = "auto"
    confidence: float = 0.95
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise TargetError(
                f"confidence of target auto must be at least 0.5 and below 1, got "
                f"{self.confidence:g}; write auto{{confidence=0.9}}"
            )
        if not 0 < self.share <= 1:
            raise TargetError(
                f"share of target auto must be above 0 and at most 1, got {self.share:g}; "
                "write auto{share=0.5} for half of an equal share"
            )

    def __str__(self) -> str:
        return f"{self.name}{{confidence={self.confidence:g},share={self.share:g}}}"


def parse_target(text: str | Target | AutoTarget) -> Target | AutoTarget:
    """Read ``kind=fraction`` or ``auto``, with options as in ``auto{confidence=0.9,share=0.5}``.

    The fraction may be a percentage (``macs=40%``).

    Raises:
        TargetError: unknown kind, a fraction outside (0, 1], or an option that is refused.
    """
    if isinstance(text, Target | AutoTarget):
        return text
    if str(text).strip().partition("{")[0].rstrip() == AutoTarget.name:
        return _auto(str(text))
    kind, equals, value = str(text).partition("=")
    kind, value = kind.strip(), value.strip()
    if kind not in KINDS or not equals:
        known = ", ".join(f"{k}=0.5" for k in KINDS)
        raise TargetError(f"target {text!r} is not understood; use one of {known} or auto")
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


def _auto(text: str) -> AutoTarget:
    try:
        made = build(AutoTarget, Spec.parse(text))
    except TargetError:
        raise
    except UsageError as error:
        raise TargetError(f"target {text!r}: {error}") from error
    assert isinstance(made, AutoTarget)
    return made
