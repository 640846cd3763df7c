"""The certificate: the small model equals its reference, in PyTorch, in ONNX and reloaded.

Three parts, each usable alone: :func:`certify_shrink`, :func:`certify_onnx` and
:func:`certify_reload`. Each raises :class:`CertificateError` unless it proves equality.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import fx

from graphprune.capturing.capture import Captured
from graphprune.errors import CertificateError
from graphprune.graph.aliases import Aliases, written_arguments
from graphprune.graph.trees import Inputs, tensor_leaves
from graphprune.graph.values import read_by
from graphprune.io.text import reason
from graphprune.proof.answers import answers
from graphprune.proof.check_inputs import check_inputs, describe_inputs
from graphprune.proof.compare import LIMITS, limit_for, prove_equal
from graphprune.proof.fresh_inputs import batch_size
from graphprune.proof.onnxrun import OnnxModel
from graphprune.proof.reload import operator_modules, reloaded_outputs
from graphprune.proof.rounding import SLACK, in_double, own_rounding, within_rounding

BATCHES = (2, 3)
_EXACT = LIMITS[torch.float64]


@dataclass(frozen=True)
class Certificate:
    """What was proved, as largest relative errors (see :mod:`graphprune.proof.compare`).

    Attributes:
        limit: the largest error that passes.
        inputs: what the models were run on, in words.
        shrink_error: small model against the masked reference; None if not compared.
        onnx_error: onnxruntime against PyTorch, by batch size.
        reload_error: the model reloaded in a fresh process against PyTorch.
        reload_onnx_error: the same against onnxruntime.
        in_double: whether ``shrink_error`` was measured in float64, for the model magnifies
            rounding (see :mod:`graphprune.proof.rounding`).
        rounding: where the limit is as wide as the model's own rounding allows, the relative error
            of its outputs against those that it has in float64; else None.
    """

    limit: float
    inputs: str
    shrink_error: float | None = None
    onnx_error: dict[int, float] = field(default_factory=dict)
    reload_error: float | None = None
    reload_onnx_error: float | None = None
    in_double: bool = False
    rounding: float | None = None

    @property
    def passed(self) -> bool:
        """Whether something was compared and every error is within the limit."""
        errors = [self.shrink_error, self.reload_error, self.reload_onnx_error]
        found = [e for e in [*errors, *self.onnx_error.values()] if e is not None]
        return bool(found) and all(error <= self.limit for error in found)

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dump``."""
        data = dataclasses.asdict(self)
        data["onnx_error"] = {str(size): error for size, error in self.onnx_error.items()}
        return data | {"passed": self.passed}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Certificate:
        """Inverse of :meth:`to_json`; ``passed`` is worked out anew.

        Raises:
            KeyError, TypeError, ValueError: the data are no certificate.
        """
        younger = {"in_double": False, "rounding": None}  # than the first reports
        values = {item.name: (younger | data)[item.name] for item in dataclasses.fields(cls)}
        values["onnx_error"] = {int(n): float(e) for n, e in data["onnx_error"].items()}
        return cls(**values)


def certify(
    captured: Captured,
    reference: Callable[..., Any],
    folder: str | Path,
    *,
    seed: int = 0,
    limit: float | None = None,
) -> Certificate:
    """All three parts for the small model ``captured`` and the files in ``folder``.

    Args:
        captured: the small model with its example inputs.
        reference: called as the model is; the outputs that it must have, from elsewhere.
        folder: holds ``model.onnx`` and ``model.pt2``.
        seed: of the random inputs.
        limit: largest relative error; None: by the dtype (:data:`graphprune.proof.compare.LIMITS`).

    Raises:
        CertificateError: a part fails; the message names it, the error and the limit.
    """
    proved = certify_cut(captured, reference, seed=seed, limit=limit)
    proved = with_onnx(proved, captured, Path(folder) / "model.onnx", seed=seed)
    return with_reload(proved, captured, folder, seed=seed)


def certify_cut(
    captured: Captured,
    reference: Callable[..., Any],
    *,
    seed: int = 0,
    limit: float | None = None,
) -> Certificate:
    """The first part: the small model ``captured`` equals its reference.

    Every slice of an output must be equal by itself. Where rounding is too large for that, both
    are compared in float64.

    Args:
        captured: the small model with its example inputs.
        reference: see :func:`certify_shrink`.
        seed: of the random inputs.
        limit: as in :func:`certify`.

    Raises:
        CertificateError: as :func:`certify_shrink`.
    """
    limit = model_limit(captured) if limit is None else limit
    proved = Certificate(limit, describe_inputs(seed, captured))
    inputs = check_inputs(captured, seed)
    try:
        error = certify_shrink(captured.module, reference, inputs, limit=limit, in_slices=True)
    except CertificateError as failed:
        if own_rounding(captured, seed) is None:  # it cannot be run in float64
            error = certify_shrink(captured.module, reference, inputs, limit=limit)
            return dataclasses.replace(proved, shrink_error=error)
        try:
            error = certify_shrink(
                captured.module, reference, inputs, limit=_EXACT, in_slices=True, within=in_double
            )
        except CertificateError:
            raise failed from None
        return dataclasses.replace(proved, shrink_error=error, in_double=True)
    return dataclasses.replace(proved, shrink_error=error)


def with_onnx(
    proved: Certificate, captured: Captured, path: str | Path, *, seed: int = 0
) -> Certificate:
    """The certificate with :func:`certify_onnx`, within the limit or the model's own rounding."""

    def check(limit: float) -> dict[int, float]:
        return certify_onnx(captured, path, limit=limit, seed=seed)

    limit, errors = within_rounding(captured, proved.limit, check, seed=seed)
    return dataclasses.replace(_within(proved, limit), onnx_error=errors)


def with_reload(
    proved: Certificate,
    captured: Captured,
    folder: str | Path,
    *,
    seed: int = 0,
    onnx: bool = True,
) -> Certificate:
    """The certificate with :func:`certify_reload`, within the limit or the model's own rounding."""

    def check(limit: float) -> tuple[float, float | None]:
        return certify_reload(folder, captured, limit=limit, seed=seed, onnx=onnx)

    limit, (error, onnx_error) = within_rounding(captured, proved.limit, check, seed=seed)
    proved = _within(proved, limit)
    return dataclasses.replace(proved, reload_error=error, reload_onnx_error=onnx_error)


def _within(proved: Certificate, limit: float) -> Certificate:
    if limit == proved.limit:
        return proved
    return dataclasses.replace(proved, limit=limit, rounding=limit / SLACK)


def model_limit(captured: Captured) -> float:
    """The limit for the least precise dtype among a model's weights and inputs."""
    inputs = tensor_leaves((captured.args, captured.kwargs))
    return limit_for([*captured.module.parameters(), *captured.module.buffers(), *inputs])


def certify_shrink(
    small: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Sequence[Inputs],
    *,
    limit: float = 1e-4,
    in_slices: bool = False,
    within: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> float:
    """Largest relative error of ``small`` against ``reference`` over ``inputs``.

    Args:
        small: the model; a module is run in evaluation mode.
        reference: called in the same way; it should not share code with ``small``.
        inputs: at least two calls of the same shapes with different values.
        limit: largest error that passes.
        in_slices: see :func:`graphprune.proof.compare.max_relative_error`.
        within: makes what surrounds each call.

    Raises:
        CertificateError: the error exceeds the limit, is not a number, or the outputs do not vary
            with the inputs, so that equality proves nothing; or the model fails on an input.
    """
    part = "shrunk model against masked reference"
    try:
        actual, expected = (answers(m, inputs, within=within) for m in (small, reference))
    except (IndexError, RuntimeError, ValueError) as error:
        raise CertificateError(
            f"certificate failed: {part}: {reason(error)}; if the example inputs hold codes that "
            "must stay in a range, give a batch of several, with all of the range"
        ) from error
    free = independent_outputs(small)
    return _judge(part, actual, expected, limit, free, in_slices=in_slices)


def certify_onnx(
    captured: Captured, path: str | Path, *, limit: float | None = None, seed: int = 0
) -> dict[int, float]:
    """Largest relative error of onnxruntime against PyTorch, by batch size.

    Batch sizes are 2 and 3 where the batch is dynamic, else that of the examples (0 if the
    inputs have no batch).

    Raises:
        CertificateError: as :func:`certify_shrink`, or onnxruntime refuses the file.
    """
    limit = model_limit(captured) if limit is None else limit
    model = OnnxModel(path, as_written=True)
    free = independent_outputs(captured.module, tensors_only=True)
    sizes = BATCHES if batch_size(captured) is not None else (None,)
    errors = {}
    for size in sizes:
        inputs = check_inputs(captured, seed, size)
        expected = [tensor_leaves(output) for output in answers(captured.module, inputs)]
        actual = [model(one) for one in inputs]
        shown = size if size is not None else _static_size(captured)
        part = f"onnxruntime against PyTorch at batch {shown}"
        errors[shown] = _judge(part, actual, expected, limit, free)
    return errors


def certify_reload(
    folder: str | Path,
    captured: Captured,
    *,
    limit: float | None = None,
    seed: int = 0,
    onnx: bool = True,
) -> tuple[float, float | None]:
    """Largest relative errors of ``model.pt2``, reloaded in a fresh process, against both others.

    The process can import nothing but graphprune and what it depends on, once the modules are
    imported that define operators of other libraries, if the graph calls any.

    Returns:
        The error against ``captured.module`` and the error against onnxruntime on ``model.onnx``;
        None for the latter without ``onnx``.

    Raises:
        CertificateError: as :func:`certify_shrink`, or the process cannot load or run the model.
    """
    place = Path(folder)
    limit = model_limit(captured) if limit is None else limit
    inputs = check_inputs(captured, seed)
    modules = operator_modules(captured.module)
    actual = reloaded_outputs(place / "model.pt2", inputs, modules=modules)
    expected = [tensor_leaves(output) for output in answers(captured.module, inputs)]
    free = independent_outputs(captured.module, tensors_only=True)
    error = _judge("reloaded model against PyTorch", actual, expected, limit, free)
    if not onnx:
        return error, None
    onnx_model = OnnxModel(place / "model.onnx", as_written=True)
    from_onnx = [onnx_model(one) for one in inputs]
    return error, _judge("reloaded model against onnxruntime", actual, from_onnx, limit, free)


def independent_outputs(model: object, *, tensors_only: bool = False) -> set[int]:
    """Positions, among the output leaves, of those that no input reaches in a model's graph.

    They may be constant (anchors, say). Empty if ``model`` is not a graph. ``tensors_only`` counts
    the positions among the leaves that are tensors.
    """
    if not isinstance(model, fx.GraphModule):
        return set()
    aliases = Aliases(model.graph)
    reached: set[fx.Node] = set()
    written: set[fx.Node] = set()  # memory, by the node that made it

    def depends(node: fx.Node) -> bool:
        return node in reached or aliases.root(node) in written

    for node in model.graph.nodes:
        if node.op == "placeholder" or any(map(depends, read_by(node))):
            reached.add(node)
            written.update(aliases.root(target) for target in written_arguments(node))
    outputs: Any = model.graph.output_node().args[0]
    flat = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    if tensors_only:
        flat = [leaf for leaf in flat if isinstance(leaf, fx.Node) and _is_tensor(leaf)]
    return {i for i, leaf in enumerate(flat) if isinstance(leaf, fx.Node) and not depends(leaf)}


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def _judge(
    part: str,
    actual: list[Any],
    expected: list[Any],
    limit: float,
    independent: set[int],
    *,
    in_slices: bool = False,
) -> float:
    try:
        return prove_equal(actual, expected, limit, independent=independent, in_slices=in_slices)
    except CertificateError as failed:
        raise CertificateError(f"certificate failed: {part}: {failed}") from failed


def _static_size(captured: Captured) -> int:
    leaves = [t for t in tensor_leaves((captured.args, captured.kwargs)) if t.ndim]
    return leaves[0].shape[0] if leaves else 0
