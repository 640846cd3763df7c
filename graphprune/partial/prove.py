"""The certificate of a model of which parts were pruned: each part, then the whole."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.errors import CertificateError
from graphprune.graph.trees import Inputs, copy_of, tensor_leaves
from graphprune.io.tensors import output_tensors
from graphprune.partial.hooks import watched_calls
from graphprune.partial.observe import run
from graphprune.partial.reference import PartReference
from graphprune.proof.check_inputs import check_inputs
from graphprune.proof.compare import max_relative_error
from graphprune.proof.fresh_inputs import fresh_inputs

_DRAWS = 2


@dataclass(frozen=True)
class WholeProof:
    """What was compared on the whole model.

    Attributes:
        runs: calls of the whole model, the examples first.
        calls: calls of parts in these runs that were compared with the masked original.
        unchecked: calls whose shapes no graph was captured for, so that nothing was compared.
        part_error: largest relative error of a part in these calls.
        outside_error: largest relative error of the whole model's outputs against the original
            with masked parts, where both go on with the same outputs of the parts.
        end_to_end: the same where each goes on with its own; None where the outputs have unlike
            structures or whole numbers (labels), as when a threshold or a sort decides otherwise
            for rounding alone.
        values: elements in the outputs that were compared.
    """

    runs: int
    calls: int
    unchecked: int
    part_error: float
    outside_error: float
    end_to_end: float | None
    values: int

    def note(self, limit: float) -> str:
        """One line where the whole is proved less than usual, else ""."""
        if self.end_to_end is None or self.end_to_end > limit:
            how = (
                "in structure or whole numbers"
                if self.end_to_end is None
                else f"by {self.end_to_end:.3g}"
            )
            return (
                f"end to end the outputs differ {how} from the original with masked parts, though "
                f"every part agrees within {self.part_error:.1e}: a threshold, a sort or "
                "non-maximum suppression outside of the parts decides otherwise for rounding alone"
            )
        if self.unchecked:
            return (
                f"{self.unchecked} calls of parts have shapes for which nothing was captured; "
                "they were not compared"
            )
        if not self.values:
            return "the outputs hold no values on the example inputs; only the parts are compared"
        return ""


def certify_class(
    name: str,
    module: nn.Module,
    graphs: Sequence[Captured],
    reference: PartReference,
    *,
    limit: float,
    seed: int = 0,
) -> float:
    """Largest relative error of a part, put back, against its masked original.

    Every graph of the part is compared on its example inputs and on random ones like them.

    Args:
        name: of the part, for the error.
        module: the part in its place.
        graphs: that it was captured as.
        reference: its masked original.
        limit: largest relative error that passes.
        seed: of the random inputs.

    Raises:
        CertificateError: the part fails on some inputs, or its outputs differ.
    """
    largest = 0.0
    for captured, expected in zip(graphs, reference.references, strict=True):
        for inputs in check_inputs(captured, seed):
            with torch.no_grad():
                try:
                    actual = run(module, inputs, seed)
                except Exception as error:
                    raise CertificateError(
                        f"{name} fails after it was shrunk: {type(error).__name__}: {error}"
                    ) from error
                args, kwargs = copy_of(inputs)
                largest = max(largest, max_relative_error(actual, expected(*args, **kwargs)))
    if not largest <= limit:
        raise CertificateError(
            f"{name}, put back, differs from its masked original by {largest:.3g} (limit {limit:g})"
        )
    return largest


def certify_whole(
    original: nn.Module,
    pruned: nn.Module,
    references: Mapping[str, PartReference],
    inputs: Inputs,
    *,
    limit: float,
    seed: int = 0,
) -> WholeProof:
    """Prove the model that the parts were put back into.

    Rounding can flip a threshold, a sort or non-maximum suppression, so outputs of two right
    models can be unlike. Therefore three runs are compared: the original with each part's outputs
    replaced by those of its masked original (what is meant); the pruned model with the same
    replacement, each part compared on the way (what lies outside of the parts must then agree, for
    it sees the same values); and the pruned model as it is.

    Args:
        original: the user's model, or a copy, in evaluation mode.
        pruned: the same with small parts.
        references: masked originals by part.
        inputs: example inputs; random ones like them are tried too.
        limit: largest relative error that passes.
        seed: of the random inputs, and of models that sample.

    Raises:
        CertificateError: a part, or what is outside of the parts, differs.
    """
    _check_outside(original, pruned, references)
    tally = _Tally(limit)
    outside, end_to_end, values, runs = 0.0, 0.0, 0, 0
    for number, one in enumerate(_whole_inputs(inputs, seed)):
        try:
            with _replaced(original, references, None, pruned):
                meant = run(original, one, seed)
        except CertificateError:
            raise
        except Exception:
            if number:  # random inputs may be none that the model takes
                continue
            raise
        with _replaced(pruned, references, tally, None):
            forced = run(pruned, one, seed)
        free = run(pruned, one, seed)
        runs += 1
        outside = max(outside, _difference(forced, meant))
        values += sum(tensor.numel() for tensor in _tensors(meant))
        try:
            end_to_end = max(end_to_end, _difference(free, meant))
        except CertificateError:
            end_to_end = math.inf
    if not outside <= limit:
        raise CertificateError(
            f"certificate failed: outside of the parts the pruned model differs from the original "
            f"by {outside:.3g} (limit {limit:g}) though the parts give the same outputs"
        )
    return WholeProof(
        runs,
        tally.compared,
        tally.unchecked,
        tally.error,
        outside,
        end_to_end if math.isfinite(end_to_end) else None,
        values,
    )


class _Tally:
    """Errors of parts while the whole model runs."""

    def __init__(self, limit: float) -> None:
        self.compared = self.unchecked = 0
        self.error = 0.0
        self._limit = limit

    def add(self, name: str, actual: Any, expected: Any) -> None:
        error = max_relative_error(actual, expected)
        if not error <= self._limit:
            raise CertificateError(
                f"certificate failed: {name}, called by the whole model, differs from its masked "
                f"original by {error:.3g} (limit {self._limit:g})"
            )
        self.compared += 1
        self.error = max(self.error, error)


@contextlib.contextmanager
def _replaced(
    model: nn.Module,
    references: Mapping[str, PartReference],
    tally: _Tally | None,
    stand_in: nn.Module | None,
) -> Iterator[None]:
    """Let each part return what its masked original does; with a tally, compare it on the way.

    A call that no reference serves (how many points there are depends on the channels kept) is
    left to the part of ``stand_in``, so that both runs go on with the same values.
    """
    given: dict[str, list[Inputs]] = {name: [] for name in references}

    def note(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given[name].append(copy_of((args, kwargs)))

    def replace_output(name: str, output: Any) -> Any:
        args, kwargs = inputs = given[name].pop()
        expected = references[name].for_call(inputs)
        if expected is None:
            if tally is not None:
                tally.unchecked += 1
            return stand_in.get_submodule(name)(*args, **kwargs) if stand_in else None
        outputs = expected(*args, **kwargs)
        if tally is not None:
            tally.add(name, output, outputs)
        return outputs

    modules = {name: model.get_submodule(name) for name in references}
    with watched_calls(modules, note, replace_output):
        yield


def _check_outside(
    original: nn.Module, pruned: nn.Module, parts: Mapping[str, PartReference]
) -> None:
    """Every tensor outside of the parts must be what it was, to the bit."""
    before = {**dict(original.named_parameters()), **dict(original.named_buffers())}
    after = {**dict(pruned.named_parameters()), **dict(pruned.named_buffers())}
    for name, tensor in before.items():
        if any(name.startswith(f"{part}.") for part in parts):
            continue
        found = after.get(name)
        if found is None or found.shape != tensor.shape or not torch.equal(found, tensor):
            raise CertificateError(
                f"certificate failed: {name}, outside of the pruned parts, is not what it was"
            )


def _whole_inputs(inputs: Inputs, seed: int) -> list[Inputs]:
    args, kwargs = inputs
    # Of a Captured, fresh inputs need the arguments alone; the whole model has no graph.
    like: Any = replace(_NO_GRAPH, args=args, kwargs=kwargs, batch_dims=_static(inputs))
    return [inputs, *(fresh_inputs(like, seed + draw) for draw in range(_DRAWS))]


_NO_GRAPH: Any = Captured(module=None, args=(), kwargs={}, batch_dims=())  # type: ignore[arg-type]


def _static(inputs: Inputs) -> tuple[None, ...]:
    return (None,) * len(tensor_leaves(inputs))


def _tensors(output: Any) -> list[torch.Tensor]:
    return tensor_leaves(output) or output_tensors(output)


def _difference(actual: Any, expected: Any) -> float:
    """Largest relative error; of outputs without any tensor, whether they are equal."""
    if tensor_leaves(expected):
        return max_relative_error(actual, expected)
    first, second = _tensors(actual), _tensors(expected)
    if first or second:
        return max_relative_error(first, second)
    return 0.0 if pytree.tree_leaves(actual) == pytree.tree_leaves(expected) else float("inf")
