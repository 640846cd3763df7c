"""Export to ONNX: optimised, checked, with the batch free where the model allows it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
import torch
from torch import fx
from torch.export.graph_signature import InputKind, TensorArgument
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.errors import ModelError
from graphprune.exporters import (  # noqa: F401 - their translations
    onnx_attention,
    onnx_distances,
    onnx_experts,
    onnx_order,
    onnx_pointwise,
    onnx_running,
)
from graphprune.exporters.base import Exporter
from graphprune.exporters.onnx_complex import complex_written_out
from graphprune.exporters.onnx_ops import TRANSLATIONS, WITHOUT_ONNX, first_cause
from graphprune.exporters.onnx_optimise import optimise_exactly
from graphprune.exporters.onnx_pads import keep_pads_apart
from graphprune.exporters.onnx_spectra import waves_written_out
from graphprune.exporters.program import export_program, shapes_with
from graphprune.graph.trees import to_plain
from graphprune.graph.values import is_tensor
from graphprune.proof.fresh_inputs import batch_size
from graphprune.quiet import quiet


@dataclass(frozen=True)
class OnnxExporter(Exporter):
    """Writes ``model.onnx``; above 2 GB its weights lie in ``model.onnx.data`` beside it.

    ``opset`` is the ONNX operator set (None: the one torch.onnx translates to, which needs no
    conversion). ``optimise`` folds constants and merges operators.
    """

    name: ClassVar[str] = "onnx"
    opset: int | None = None
    optimise: bool = True

    def export(self, captured: Captured, folder: Path) -> tuple[Path, ...]:
        """See :class:`graphprune.exporters.base.Exporter`."""
        return export_onnx(
            captured, folder / "model.onnx", opset=self.opset, optimise=self.optimise
        )


def export_onnx(
    captured: Captured,
    path: str | Path,
    *,
    opset: int | None = None,
    optimise: bool = True,
    program: torch.export.ExportedProgram | None = None,
) -> tuple[Path, ...]:
    """Write ``captured.module`` in evaluation mode as ONNX.

    Inputs keep the names they have in the model; outputs are named after their keys, or
    ``output``, ``output_1`` …; they come in the order in which the trees flatten. Numbers among
    them are left out.

    Args:
        captured: the model.
        path: the file to write.
        opset: ONNX operator set; None: torch.onnx's own.
        optimise: fold constants and merge operators.
        program: what :func:`graphprune.exporters.program.export_program` gives for ``captured``;
            None: it is made here. Passing it to several writers saves the time.

    Returns:
        The files written: ``path``, and ``path`` + ``.data`` if the weights exceed 2 GB.

    Raises:
        ModelError: an operator has no ONNX translation, or the result fails ONNX's checker.
    """
    target = Path(path)
    program = export_program(captured) if program is None else program
    inputs = _unique(_input_names(program), ())
    outputs = _output_names(program, inputs)
    options = {
        "opset_version": opset,
        "input_names": inputs,
        "output_names": outputs,
        "dynamic_shapes": _batch_name(captured),
        "custom_translation_table": dict(TRANSLATIONS),
    }
    try:
        program = complex_written_out(waves_written_out(program))
        try:
            _write(program, target, optimise, options)
        except Exception:
            if not optimise:
                raise
            # The optimiser fails on graphs that are right, such as splits of the free dimension.
            _write(program, target, False, options)
    except Exception as error:  # the translation of an operator may raise anything
        raise ModelError(
            f"the model cannot be written as ONNX: {first_cause(error)}; {WITHOUT_ONNX}"
        ) from error
    data = target.with_name(target.name + ".data")
    return (target, data) if data.exists() else (target,)


def _write(
    program: torch.export.ExportedProgram, target: Path, optimised: bool, options: dict[str, Any]
) -> None:
    with quiet(), torch.no_grad(), _tensors_returned(program.graph):
        exported = torch.onnx.export(program, dynamo=True, verbose=False, optimize=False, **options)
        assert exported is not None
        if optimised:
            optimise_exactly(exported)
        keep_pads_apart(exported.model)
        exported.save(str(target))
        onnx.checker.check_model(str(target))


@contextlib.contextmanager
def _tensors_returned(graph: fx.Graph) -> Iterator[None]:
    """Return None in place of numbers inside the block: an ONNX file gives tensors alone."""
    output = graph.output_node()
    given = output.args
    output.args = pytree.tree_map(_tensor_or_none, given)
    try:
        yield
    finally:
        output.args = given


def _tensor_or_none(value: Any) -> fx.Node | None:
    return value if isinstance(value, fx.Node) and is_tensor(value) else None


def _input_names(program: torch.export.ExportedProgram) -> list[str]:
    """Names of the tensors given; None and numbers among the inputs are none of the file's."""
    specs = program.graph_signature.input_specs
    given = [spec.arg for spec in specs if spec.kind is InputKind.USER_INPUT]
    return [_clean(arg.name) for arg in given if isinstance(arg, TensorArgument)]


def _output_names(program: torch.export.ExportedProgram, taken: list[str]) -> list[str]:
    specs = [spec.arg for spec in program.graph_signature.output_specs]
    found, _ = pytree.tree_flatten_with_path(
        pytree.tree_unflatten(specs[-len(program.graph_signature.user_outputs) :], _spec(program))
    )
    names = []
    for path, leaf in found:
        if isinstance(leaf, TensorArgument):
            keys = [_clean(str(getattr(key, "key", getattr(key, "idx", key)))) for key in path]
            named = bool(keys) and not keys[0].isdigit()
            names.append("_".join(keys) if named else "_".join(["output", *keys]))
    if not names:
        raise ModelError("the model returns no tensor, so there is nothing to export")
    if len(names) == 1 and re.fullmatch(r"output(_0)*", names[0]):
        names = ["output"]
    return _unique(names, taken)


def _spec(program: torch.export.ExportedProgram) -> pytree.TreeSpec:
    spec = program.call_spec.out_spec
    assert isinstance(spec, pytree.TreeSpec)
    return spec


def _batch_name(captured: Captured) -> dict[str, Any] | None:
    """The name that the free dimension gets in place of torch's symbol."""
    if batch_size(captured) is None:
        return None
    inputs = (to_plain(captured.args), to_plain(captured.kwargs))
    return shapes_with(captured, inputs, "batch")


def _clean(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_") or "value"


def _unique(names: list[str], taken: list[str] | tuple[()]) -> list[str]:
    seen = set(taken)
    result = []
    for name in names:
        candidate, count = name, 1
        while candidate in seen:
            candidate, count = f"{name}_{count}", count + 1
        seen.add(candidate)
        result.append(candidate)
    return result
