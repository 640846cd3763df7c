"""Attributes that several sizes could have become: try, and keep what the graph confirms."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from graphprune.into.scale import Scaling
from graphprune.into.sizes import Sizes, choices, size_attributes
from graphprune.into.state import named_tensors
from graphprune.into.trace import Progress

_MOST_TOGETHER = 3
_MOST_TRIALS = 60

Attributes = dict[tuple[str, str], Any]
"""Values by the qualified name of a module and the name of an attribute."""


def all_size_attributes(model: nn.Module) -> Attributes:
    """Every attribute of every module that holds sizes."""
    return {
        (path, key): value
        for path, module in model.named_modules()
        for key, value in size_attributes(module).items()
    }


class Repair:
    """Searches the values of doubtful attributes, from the first module that departs on.

    Args:
        model: with new tensors and the attributes that are certain.
        originals: what its size attributes were.
        sizes: by module, what became of the sizes there.
        scalings: by module, weights that may have to make up for another attention scale.
        measure: runs the model and tells how far it agrees; below the modules given it
            is not compared.
    """

    def __init__(
        self,
        model: nn.Module,
        originals: Attributes,
        sizes: dict[str, Sizes],
        scalings: dict[str, tuple[Scaling, ...]],
        measure: Callable[[set[str]], Progress],
    ) -> None:
        self._modules = dict(model.named_modules())
        self._originals = originals
        self._sizes = sizes
        self._scalings = dict(scalings)
        self._tensors = named_tensors(model)
        self._run = measure
        self._scaled: set[str] = set()
        self._scaled_kinds: set[type] = set()
        self._worked: dict[tuple[type, str, Any], Any] = {}

    def run(self) -> Progress:
        """Change attributes as long as the model gets further; how far it got in the end."""
        progress = self._measure()
        while progress.running:
            further = self._step(progress)
            if further is None:
                return progress
            progress = further
        return progress

    def _measure(self) -> Progress:
        return self._run(self._scaled)

    def _step(self, progress: Progress) -> Progress | None:
        """Find one change, near the place where the model departs, that gets it further."""
        within = list(reversed(progress.running))
        scalable = [path for path in within if path in self._scalings]
        # No scale makes sizes fit, so where something was raised attributes come first; but not if
        # the like of such a module has needed its weights scaled before.
        likely = any(type(self._modules[path]) in self._scaled_kinds for path in scalable)
        reached = None
        if progress.error is not None and not likely:
            reached = self._settings(within, progress)
        for path in scalable:
            if reached is None:
                reached = self._scale(path, within, progress)
        if reached is None and (progress.error is None or likely):
            reached = self._settings(within, progress)
        return reached

    def _scale(self, path: str, within: list[str], progress: Progress) -> Progress | None:
        """Scale the weights of a module's attention, and if need be change attributes too."""
        scalings = self._scalings[path]
        before = {one.parameter: self._tensors[one.parameter].data for one in scalings}
        self._scaled.add(path)
        for one in scalings:
            one.apply(self._tensors[one.parameter])
        reached = self._measure()
        found = reached if _further(reached, progress) else self._settings(within, progress)
        if found is not None:
            del self._scalings[path]
            self._scaled_kinds.add(type(self._modules[path]))
            return found
        for name, data in before.items():
            self._tensors[name].data = data
        self._scaled.discard(path)
        return None

    def _settings(self, within: list[str], progress: Progress) -> Progress | None:
        """Change attributes of one module, the nearest first."""
        for deep in (False, True):
            for path in within:
                for trial in itertools.islice(self._trials(path, deep), _MOST_TRIALS):
                    before = {key: getattr(self._modules[path], key) for key in trial}
                    self._set(path, trial)
                    reached = self._measure()
                    if _further(reached, progress):
                        self._remember(path, trial)
                        return reached
                    self._set(path, before)
        return None

    def _trials(self, path: str, deep: bool) -> Iterator[dict[str, Any]]:
        """Values for some attributes of a module: what worked in its like, then few changes first.

        Args:
            path: of the module.
            deep: use what became of sizes in the modules below it too.
        """
        module = self._modules[path]
        known = {}
        options: dict[str, list[Any]] = {}
        for key, value in size_attributes(module).items():
            original = self._originals.get((path, key), value)
            possible = choices(original, lambda size: self._became(path, size, deep))
            options[key] = [one for one in possible if one != value]
            worked = self._worked.get((type(module), key, _hashable(original)))
            if worked in options[key]:
                known[key] = worked
        if known:
            yield known
        doubtful = [key for key, others in options.items() if others]
        for count in range(1, _MOST_TOGETHER + 1):
            for keys in itertools.combinations(doubtful, count):
                for values in itertools.product(*(options[key] for key in keys)):
                    yield dict(zip(keys, values, strict=True))

    def _became(self, path: str, size: int, deep: bool) -> set[int]:
        if not deep:
            return self._sizes[path].any_became(size) if path in self._sizes else set()
        prefix = f"{path}." if path else ""
        below = [s for name, s in self._sizes.items() if name == path or name.startswith(prefix)]
        return set().union(*(sizes.any_became(size) for sizes in below))

    def _set(self, path: str, values: dict[str, Any]) -> None:
        for key, value in values.items():
            setattr(self._modules[path], key, value)

    def _remember(self, path: str, values: dict[str, Any]) -> None:
        kind = type(self._modules[path])
        for key, value in values.items():
            self._worked[kind, key, _hashable(self._originals.get((path, key)))] = value


def _further(reached: Progress, before: Progress) -> bool:
    return not reached.running or reached.steps > before.steps


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
