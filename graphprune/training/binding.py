"""How the inputs of a batch become the arguments of a captured model, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from graphprune.capturing.capture import Captured
from graphprune.errors import DataError
from graphprune.io.examples import TARGETS
from graphprune.io.text import few


@dataclass(frozen=True)
class Binding:
    """The arguments of a captured model that data fill, and those that stay as in the examples.

    Attributes:
        names: of the tensors, in the order of the examples.
        fixed: other keyword arguments (flags, None), as the examples have them.
    """

    names: tuple[str, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, captured: Captured) -> Binding:
        """That of a model's example inputs; positional ones take the names of its forward."""
        parameters = inspect.signature(captured.module.forward).parameters
        named = dict(zip(parameters, captured.args, strict=False)) | captured.kwargs
        names = tuple(name for name, value in named.items() if isinstance(value, torch.Tensor))
        return cls(names, {name: named[name] for name in named if name not in names})

    def __call__(self, inputs: Any) -> Any:
        """A batch's inputs as a dict by name; a tuple as it is where the model takes just that.

        Raises:
            DataError: a dict holds other names than the model was captured with.
        """
        if isinstance(inputs, Mapping):
            unknown = [name for name in inputs if name not in self.names]
            missing = [name for name in self.names if name not in inputs]
            if not unknown and missing and set(missing) <= set(TARGETS):
                raise DataError(
                    f"the model was captured with {few(missing)}, which are the targets of the "
                    "data; leave them out of the example inputs"
                )
            if unknown or missing:
                which = f"hold {few(unknown)}" if unknown else f"lack {few(missing)}"
                raise DataError(
                    f"the data {which}, but the model was captured with {few(self.names, 6)}; "
                    "give the same inputs in the data and as example inputs"
                )
            return {**{name: inputs[name] for name in self.names}, **self.fixed}
        if not self.fixed or len(inputs) != len(self.names):
            return inputs
        return {**dict(zip(self.names, inputs, strict=True)), **self.fixed}
