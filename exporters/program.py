"""A captured graph as a ``torch.export.ExportedProgram``, which torch's own writers take."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.capturing.capture import Captured
from graphprune.errors import ModelError
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.graph.trees import Inputs, is_plain, tensor_leaves, to_plain
from graphprune.io.text import reason
from graphprune.proof.fresh_inputs import batch_size, with_batch
from graphprune.quiet import quiet


def export_program(captured: Captured) -> torch.export.ExportedProgram:
    """Export the graph in evaluation mode, with a free batch where the capture has one.

    The program's inputs and outputs are plain containers
    (see :func:`graphprune.graph.trees.to_plain`), so that it can be loaded where the model's own
    classes are not installed.

    Raises:
        ModelError: the module is not on the CPU, or torch.export refuses it.
    """
    _require_cpu(captured.module)
    args, kwargs = (
        with_batch(captured, 2)
        if batch_size(captured) is not None
        else (
            captured.args,
            captured.kwargs,
        )
    )
    failure: Exception | None = None
    with _evaluation(captured.module), _plain_signature(captured.module), torch.no_grad():
        inputs = (to_plain(args), to_plain(kwargs))
        for shapes in _dynamic_shapes(captured, inputs):
            try:
                with quiet():
                    return torch.export.export(
                        captured.module, *inputs, dynamic_shapes=shapes, strict=False
                    )
            except Exception as error:  # noqa: BLE001 - torch.export lets any error through
                failure = error
    assert failure is not None
    raise ModelError(f"the graph cannot be exported: {reason(failure)}") from failure


def _require_cpu(module: torch.nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.device.type != "cpu":
            raise ModelError(
                f"{name} is on {tensor.device}; move the model to the CPU to export it"
            )


def shapes_with(captured: Captured, inputs: Inputs, batch: Any) -> dict[str, Any]:
    """Shapes of all parameters of the graph's forward, as torch.export takes them.

    Args:
        captured: tells which dimensions are free.
        inputs: ``(args, kwargs)`` that the graph takes.
        batch: what to write at a free dimension: a ``torch.export.Dim`` or a name.
    """
    args, kwargs = inputs
    bound = inspect.signature(captured.module.forward).bind(*args, **kwargs).arguments
    free = {
        id(leaf): {dim: batch}
        for leaf, dim in zip(tensor_leaves(inputs), captured.batch_dims, strict=True)
        if dim is not None
    }
    shapes: dict[str, Any] = pytree.tree_map(lambda leaf: free.get(id(leaf)), dict(bound))
    return shapes


def _dynamic_shapes(captured: Captured, inputs: Inputs) -> Iterator[Any]:
    """Shapes to try: one named batch for all inputs, then whatever torch finds; static: None."""
    if not captured.dynamic_batch:
        yield None
        return
    if batch_size(captured) is not None:
        yield shapes_with(captured, inputs, torch.export.Dim("batch", min=1))
    yield shapes_with(captured, inputs, torch.export.Dim.AUTO)


@contextlib.contextmanager
def _evaluation(module: TrainableGraphModule) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@contextlib.contextmanager
def _plain_signature(module: fx.GraphModule) -> Iterator[None]:
    """Make a graph take and return plain containers inside the block."""
    codegen: Any = module.graph._codegen
    info = getattr(codegen, "pytree_info", None)
    if info is None:
        yield
        return
    specs = {name: getattr(info, name) for name in ("in_spec", "out_spec")}
    trees = {
        name: pytree.tree_unflatten([object()] * spec.num_leaves, spec)
        for name, spec in specs.items()
        if spec is not None
    }
    if all(map(is_plain, trees.values())):
        yield
        return
    plain = {name: pytree.tree_structure(to_plain(tree)) for name, tree in trees.items()}
    codegen.pytree_info = info._replace(**plain)
    module.recompile()
    try:
        yield
    finally:
        codegen.pytree_info = info
        module.recompile()
