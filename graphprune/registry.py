"""Registries of passes, criteria, switches and exporters: ours and other people's alike.

Built-ins and plug-ins register in one way only, by an entry point of their distribution::

    [project.entry-points."graphprune.passes"]
    my-pass = "my_package.my_module:MyPass"

Entry points are read when a registry is asked, and nothing is imported before it is loaded.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from graphprune.errors import UsageError
from graphprune.io.imports import import_callable

IN_PROCESS = "(this process)"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Entry(NamedTuple):
    """One registered name: ``target`` is ``package.module:Name``, ``distribution`` who ships it."""

    name: str
    target: str
    distribution: str


class Registry:
    """Names and the objects behind them, from one entry-point group and from ``register``.

    A name that two parties claim is refused by every method, so that which of them is used never
    depends on the order of installation. Where users name things of several registries in one
    place, :meth:`share_names` makes a name in one of them a claim in all.

    Attributes:
        group: of entry points.
        reserved: names that mean something else where these are used; nobody may claim them.
    """

    def __init__(self, group: str, reserved: frozenset[str] = frozenset()) -> None:
        self.group = group
        self.reserved = reserved
        self._registered: dict[str, Any] = {}
        self._beside: list[Registry] = []

    def share_names(self, other: Registry) -> None:
        """From here on a name that both registries hold is claimed twice, in either of them."""
        self._beside.append(other)
        other._beside.append(self)

    def names(self) -> list[str]:
        """All registered names, sorted.

        Raises:
            UsageError: a name is claimed twice.
        """
        return sorted(self._entries())

    def entries(self) -> list[Entry]:
        """All registrations, sorted by name; nothing is imported.

        Raises:
            UsageError: a name is claimed twice.
        """
        return [entry for _, entry in sorted(self._entries().items())]

    def describe(self, name: str) -> Entry:
        """The registration of ``name``; nothing is imported.

        Raises:
            UsageError: ``name`` is unknown, or some name is claimed twice.
        """
        entries = self._entries()
        if name not in entries:
            raise UsageError(self._unknown(name, sorted(entries)))
        return entries[name]

    def load(self, name: str) -> Any:
        """The object registered as ``name``, or the one at the path ``package.module:Name``.

        Raises:
            UsageError: ``name`` is unknown or claimed twice, or its import fails.
        """
        if ":" in name:
            return import_callable(name, self.group, UsageError)
        entry = self.describe(name)
        if name in self._registered:
            return self._registered[name]
        shipped = f"{self.group} {name!r} from {entry.distribution}"
        return import_callable(entry.target, shipped, UsageError)

    def register(self, name: str, target: Any) -> None:
        """Register ``target`` as ``name`` for this process.

        Raises:
            UsageError: ``name`` is malformed, reserved or already taken.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be a name in {self.group}: "
                "use letters, digits, '.', '_' and '-', and begin with a letter or digit"
            )
        self._claims([(self, _in_process(name, target))])
        self._registered[name] = target

    def _entries(self) -> dict[str, Entry]:
        claims = self._claims([])
        return {name: entry for name, (registry, entry) in claims.items() if registry is self}

    def _claims(self, more: list[tuple[Registry, Entry]]) -> dict[str, tuple[Registry, Entry]]:
        """Who holds each name, here and in registries beside this one; ``more`` come last."""
        found = [(one, entry) for one in (self, *self._beside) for entry in one._found()]
        claims: dict[str, tuple[Registry, Entry]] = {}
        for registry, entry in [*found, *more]:
            if entry.name in registry.reserved:
                raise UsageError(
                    f"{entry.name!r} cannot be a name in {registry.group}: it is reserved; "
                    f"uninstall or rename {entry.target} from {entry.distribution}"
                )
            if entry.name in claims:
                raise UsageError(_claimed_twice(claims[entry.name], (registry, entry)))
            claims[entry.name] = registry, entry
        return claims

    def _found(self) -> list[Entry]:
        """All registrations of this registry, whatever they clash with."""
        here = [_in_process(name, target) for name, target in self._registered.items()]
        return [*_installed(self.group, tuple(sys.path)), *here]

    def _unknown(self, name: str, known: list[str]) -> str:
        if not known:
            return (
                f"{name!r} is unknown: nothing at all is registered in {self.group}; "
                "install graphprune with pip, so that its entry points are found"
            )
        return (
            f"{name!r} is not registered in {self.group}; known are {', '.join(known)}, "
            "or give a path such as package.module:Name"
        )


def _claimed_twice(first: tuple[Registry, Entry], second: tuple[Registry, Entry]) -> str:
    groups = " and ".join(dict.fromkeys(registry.group for registry, _ in (first, second)))
    by = [f"by {entry.target} from {entry.distribution}" for _, entry in (first, second)]
    return (
        f"{first[1].name!r} is claimed twice in {groups}: {' and '.join(by)}; "
        "uninstall or rename one of them"
    )


@lru_cache
def _installed(group: str, path: tuple[str, ...]) -> tuple[Entry, ...]:
    """What is installed on the path; reading the metadata of all distributions takes a while."""
    del path  # entry_points reads sys.path itself
    return tuple(_entry(point) for point in entry_points(group=group))


def _entry(point: EntryPoint) -> Entry:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "(unknown)"
    return Entry(point.name, point.value, distribution)


def _in_process(name: str, target: Any) -> Entry:
    kind = target if hasattr(target, "__qualname__") else type(target)
    return Entry(name, f"{kind.__module__}:{kind.__qualname__}", IN_PROCESS)


DEFAULT_METHOD = "auto"
"""Where channels are ranked by a criterion or by switches: whichever suits the data."""

PASSES = Registry("graphprune.passes")
CRITERIA = Registry("graphprune.criteria", frozenset({DEFAULT_METHOD}))
SWITCHES = Registry("graphprune.switches", frozenset({DEFAULT_METHOD}))
CRITERIA.share_names(SWITCHES)
EXPORTERS = Registry("graphprune.exporters")
