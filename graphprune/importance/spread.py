"""Which methods learn how sure they are, as target ``auto`` needs."""

from __future__ import annotations

from collections.abc import Iterable

from graphprune.errors import TargetError, UsageError
from graphprune.importance import handed_over
from graphprune.importance.methods import Method, make_method
from graphprune.registry import SWITCHES
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod

_ANY = 0.5


def check_auto(method: Method, ranking: str) -> None:
    """Refuse, before any work, what cannot go with target ``auto``.

    Raises:
        TargetError: the method does not learn, or groups are asked to be compared.
    """
    if not isinstance(method, SwitchMethod):
        raise _unfit(f"{method.name} gives scores alone")
    if ranking != "local":
        raise TargetError(
            f"target auto judges each channel by its own group; leave ranking {ranking} out"
        )


def require_spread(method: SwitchMethod, switches: Iterable[Switch]) -> None:
    """Refuse switches that do not answer :meth:`~graphprune.switches.base.Switch.below`.

    Raises:
        TargetError: one does not.
        UsageError: one answers something else.
    """
    if any(handed_over.below(method, switch, _ANY) is None for switch in switches):
        raise _unfit(f"as it is set, {method.name} learns no spread")


def _unfit(what: str) -> TargetError:
    return TargetError(
        "target auto needs a method that learns, from data, how sure each channel's importance is, "
        f"and {what}; use {', '.join(_fit())} with --data, or name a fraction such as macs=0.5"
    )


def _fit() -> list[str]:
    """Registered kinds of switches that answer, of those that can be asked without a model."""
    return [name for name in SWITCHES.names() if _answers(name)]


def _answers(name: str) -> bool:
    try:
        method = make_method(name)
        if not isinstance(method, SwitchMethod):
            return False
        method = handed_over.with_spread(method)
        switch = handed_over.switch(method, SwitchGroup("any", 2, batched=True))
        return handed_over.below(method, switch, _ANY) is not None
    except UsageError:  # it may be broken, which is nothing to those who asked for another
        return False
