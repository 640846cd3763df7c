"""Methods by name: kinds of switches, which learn, and criteria, which do not."""

from __future__ import annotations

from typing import Any

from graphprune.criteria.base import Criterion, needs_data
from graphprune.errors import UsageError
from graphprune.importance import handed_over
from graphprune.options import Spec, build
from graphprune.registry import CRITERIA, DEFAULT_METHOD, SWITCHES
from graphprune.switches.method import SwitchMethod

Method = SwitchMethod | Criterion
AUTO, LEARNED, WITHOUT_DATA = DEFAULT_METHOD, "dirichlet", "l2"


def make_method(text: str) -> Method:
    """The method called ``name``, ``name{option=value,...}`` or ``package.module:Name``.

    Raises:
        UsageError: there is no such method, or it refuses its options.
    """
    spec = Spec.parse(text)
    return handed_over.method(build(_find(spec.name), spec), spec.name)


def resolve_method(method: str | Method, has_data: bool) -> tuple[Method, str]:
    """The method meant, also by ``auto``, with a note for the user.

    Raises:
        UsageError: an unknown method, what is none at all, or one that needs data where there are
            none.
    """
    if method is None or isinstance(method, list | tuple):
        raise UsageError(
            f"method is a {type(method).__name__}; give one name such as dirichlet, or one object "
            "(search alone takes a list of them)"
        )
    if method == AUTO:
        if has_data:
            return make_method(LEARNED), ""
        note = "no data given: channels were ranked by the L2 norm of their weights"
        return make_method(WITHOUT_DATA), note
    if isinstance(method, str):
        found = make_method(method)
    else:
        found = handed_over.method(method, getattr(method, "__name__", type(method).__name__))
    if isinstance(found, SwitchMethod) and not has_data:
        raise UsageError(
            f"method {found.name} learns from data; give --data (data=), or use l2, l1 or random"
        )
    if needs_data(found) and not has_data:
        raise UsageError(
            f"method {found.name} measures on data; give --data (data=), or use l2, l1 or random"
        )
    return found, ""


def resolve_switches(method: str | SwitchMethod) -> SwitchMethod:
    """The kind of switch meant, for who has data and learns.

    Raises:
        UsageError: it is unknown, or a criterion, which learns nothing.
    """
    found, _ = resolve_method(method, has_data=True)
    if not isinstance(found, SwitchMethod):
        raise UsageError(
            f"method {found.name} is a criterion and learns no switches; rank channels by it with "
            f"score_channels, or use {', '.join(SWITCHES.names())}"
        )
    return found


def _find(name: str) -> Any:
    if ":" in name:
        return CRITERIA.load(name)
    switches, criteria = SWITCHES.names(), CRITERIA.names()
    if name in switches:
        return SWITCHES.load(name)
    if name in criteria:
        return CRITERIA.load(name)
    known = ", ".join(sorted({*switches, *criteria}))
    raise UsageError(f"method {name!r} is not known; use auto, {known}")
