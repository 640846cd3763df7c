"""Capture: any PyTorch model becomes a torch.fx graph of ATen ops with shapes on every node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.capturing.attempts import distributions_unchecked, failed_calls_forgotten
from graphprune.capturing.autocast import with_casts
from graphprune.capturing.caches import BuffersMadeError, attributes_kept, call_once, traced
from graphprune.capturing.carried import without_carried_state
from graphprune.capturing.constants import AnswerConstants
from graphprune.capturing.flexible import flex_attention_written_out, without_vmap
from graphprune.capturing.foretold import ForetellResults
from graphprune.capturing.keywords import keywords_spelt_out
from graphprune.capturing.owned import Owned
from graphprune.capturing.sizes import len_gives_sizes
from graphprune.capturing.unreadable import refuse_branches, refuse_layouts, refuse_unreadable
from graphprune.errors import DataError, ModelError
from graphprune.graph.graphmodule import TrainableGraphModule, to_evaluation
from graphprune.graph.input_sizes import sizes_text
from graphprune.graph.names import with_graph_names
from graphprune.graph.shape_functions import add_shape_functions
from graphprune.graph.state import state_kept
from graphprune.graph.trees import copy_of, register_dataclasses
from graphprune.graph.values import is_free
from graphprune.io.inputs import check_inputs_fit
from graphprune.io.tensors import describe
from graphprune.quiet import quiet


@dataclass(frozen=True)
class Captured:
    """A model as a graph, with inputs that run it.

    Attributes:
        module: eval-mode graph of ATen calls; its parameters and buffers carry the original
            qualified names (see :mod:`graphprune.graph.names`) and are copies, so the caller's
            model never changes with it.
        args: positional example inputs (real tensors).
        kwargs: keyword example inputs.
        batch_dims: for each tensor leaf of ``(args, kwargs)`` the dimension that may vary, or None.
        left_out: names of outputs that the graph does not return, see
            :func:`graphprune.capturing.carried.without_carried_state`.
        was_training: whether it comes from a program that was exported in training mode.
        as_in_training: whether the model gives these values only by the road that its layers take
            in training, see :func:`graphprune.capturing.fast_paths.without_fast_paths`.
    """

    module: TrainableGraphModule
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    batch_dims: tuple[int | None, ...]
    left_out: tuple[str, ...] = ()
    was_training: bool = False
    as_in_training: bool = False

    @property
    def dynamic_batch(self) -> bool:
        """Whether the graph accepts batches of any size."""
        return any(dim is not None for dim in self.batch_dims)


def normalise_inputs(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Example inputs as (args, kwargs), from a tensor, a tuple of arguments, or a dict by name."""
    if isinstance(example_inputs, torch.Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, list | tuple):
        if (
            len(example_inputs) == 2
            and isinstance(example_inputs[0], tuple)
            and isinstance(example_inputs[1], dict)
        ):
            return example_inputs[0], dict(example_inputs[1])
        return tuple(example_inputs), {}
    raise ModelError(
        f"example inputs are a {type(example_inputs).__name__}; "
        "give a tensor, a tuple of arguments or a dict of keyword arguments"
    )


@torch.inference_mode(False)  # what is made inside it could never be learned from
def capture(model: torch.nn.Module | Any, example_inputs: Any, *, dynamic: bool = True) -> Captured:
    """Capture ``model`` in evaluation mode with torch.export.

    Args:
        model: an ``nn.Module`` or a ``torch.export.ExportedProgram``. It is left as it was.
        example_inputs: see :func:`normalise_inputs`. For a dynamic batch the first dimension of
            every tensor input is taken as the batch where all of them agree on its size.
        dynamic: try to keep the batch size free; where the model fixes it, or does something else
            at another one, it stays fixed.

    Raises:
        ModelError: torch.export cannot capture the model; the message carries its reason. Or the
            graph computes something else than the model on the example inputs.
        DataError: an exported program does not take such inputs, or one is sparse or nested.
        UsageError: see :func:`graphprune.capturing.unreadable.refuse_unreadable`.
    """
    from graphprune.capturing.faithful import require_faithful, require_same

    args, kwargs = normalise_inputs(example_inputs)
    refuse_layouts(_tensors(args, kwargs))
    captured = _captured(model, args, kwargs, dynamic)
    if captured.was_training:
        return captured
    if isinstance(model, torch.export.ExportedProgram):
        require_same(model, captured)
        return captured
    with _evaluation_mode(model):
        faithful = require_faithful(model, captured)
        if faithful is None:
            captured = _captured(model, args, kwargs, dynamic=False)
            faithful = require_faithful(model, captured)
    return faithful or captured


def _captured(
    model: torch.nn.Module | Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool
) -> Captured:
    add_shape_functions()
    left_out: set[str] = set()
    has_modes = False
    if isinstance(model, torch.export.ExportedProgram):
        program = model
    elif isinstance(model, torch.nn.Module):
        refuse_unreadable(model)
        register_dataclasses((args, kwargs))
        carried = without_carried_state(model, args, kwargs)
        named = keywords_spelt_out(model, kwargs)
        mode = _evaluation_mode(model)
        with mode as has_modes, torch.no_grad(), carried as left_out, named:
            try:
                program = _export(model, args, kwargs, dynamic)
            except ModelError:
                if not _returns_dataclasses(model, args, kwargs):
                    raise
                program = _export(model, args, kwargs, dynamic)
    else:
        raise ModelError(f"expected an nn.Module or ExportedProgram, got {type(model).__name__}")
    program = without_vmap(with_casts(with_graph_names(program)))
    module, in_training = _graph_module(program, has_modes)
    if isinstance(model, torch.export.ExportedProgram):
        _check_program_inputs(module, args, kwargs)
    leaves = _tensors(args, kwargs)
    dims = _batch_dims(module, len(leaves))
    return Captured(module, args, kwargs, dims, tuple(sorted(left_out)), in_training)


def _returns_dataclasses(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> bool:
    """Whether outputs are dataclasses that torch.export did not know, and now does."""
    own_args, own_kwargs = copy_of((args, kwargs))
    with state_kept(model), quiet():
        try:
            return register_dataclasses(model(*own_args, **own_kwargs))
        except Exception:  # noqa: BLE001 - the capture's own error says more
            return False


def _graph_module(
    program: torch.export.ExportedProgram, in_evaluation: bool
) -> tuple[TrainableGraphModule, bool]:
    """A program as a clean graph in evaluation mode, and whether it was exported in training mode.

    Args:
        program: as torch.export gives it, with names that a graph may have.
        in_evaluation: whether it is known to have been exported in evaluation mode.
    """
    from graphprune.passes.drop_expands import DropExpands
    from graphprune.passes.drop_idle import DropIdle
    from graphprune.passes.fold_constants import FoldConstants
    from graphprune.passes.freeze_observers import FreezeObservers
    from graphprune.passes.fuse_moves import FuseMoves
    from graphprune.passes.inline_regions import InlineRegions
    from graphprune.passes.normalise import Normalise
    from graphprune.passes.respell import Respell
    from graphprune.passes.set_mode import exported_in_training
    from graphprune.passes.split_losses import SplitLosses
    from graphprune.passes.write_out import WriteOut

    exported = program.module(check_guards=False)
    owned = Owned(exported)
    module = TrainableGraphModule(owned, exported.graph)
    InlineRegions()(module)  # so that the mode is told by all calls
    refuse_branches(module)
    Respell()(module)
    in_training = not in_evaluation and exported_in_training(module.graph)
    module.training = in_training
    if in_training:
        module.eval()
    for name, owner in module.named_modules():  # which buffers are not saved is lost on the way
        unsaved = owned.get_submodule(name)._non_persistent_buffers_set
        owner._non_persistent_buffers_set = {key for key in unsaved if key in owner._buffers}
    lifted = frozenset(program.graph_signature.inputs_to_lifted_tensor_constants.values())
    cleaning = (FreezeObservers(), DropIdle(), WriteOut(), Normalise(), SplitLosses())
    for step in (*cleaning, FoldConstants(lifted), DropExpands(), FuseMoves()):
        step(module)
    return module, in_training


def _check_program_inputs(
    module: TrainableGraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Run a program, which torch.export has not done here, on inputs that may not be its own."""
    nodes = module.graph.find_nodes(op="placeholder")
    values = [node.meta.get("val") for node in nodes]
    wanted = [value for value in values if isinstance(value, torch.Tensor)]
    given = _tensors(args, kwargs)
    if len(given) != len(wanted):
        raise DataError(
            f"the program takes {len(wanted)} input tensors, but {len(given)} are given"
        )
    for index, (have, want) in enumerate(zip(given, wanted, strict=True)):
        free = [is_free(size) for size in want.shape]
        same = have.ndim == want.ndim and all(
            loose or a == b for loose, a, b in zip(free, have.shape, want.shape, strict=True)
        )
        if not same or have.dtype != want.dtype:
            takes = f"{sizes_text(want.shape)}:{str(want.dtype).removeprefix('torch.')}"
            raise DataError(
                f"input {index}: the program takes {takes}, got {describe(have)}; "
                "give inputs like those that it was exported with"
            )
    with state_kept(module):
        check_inputs_fit(module, args, kwargs)


def _export(
    model: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool
) -> torch.export.ExportedProgram:
    """Export; where the first call of a model registers buffers, the second call is exported."""
    with attributes_kept(model):
        try:
            return _export_call(model, args, kwargs, dynamic, first=True)
        except BuffersMadeError:
            call_once(model, args, kwargs)
            return _export_call(model, args, kwargs, dynamic, first=False)


def _export_call(
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    dynamic: bool,
    *,
    first: bool,
) -> torch.export.ExportedProgram:
    """Export with a free batch dimension if the model allows it, else with the shapes given.

    Raises:
        BuffersMadeError: of the first call.
        ModelError: no attempt succeeds.
    """
    attempts: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
    wider = _batch_of_two(args, kwargs) if dynamic else None
    if wider is not None:
        batch = torch.export.Dim("batch", min=1)
        attempts.append((*wider, _dynamic_shapes(*wider, batch)))
        attempts.append((*wider, _dynamic_shapes(*wider, torch.export.Dim.AUTO)))
    attempts.append((args, kwargs, None))
    failure: Exception | None = None
    for attempt_args, attempt_kwargs, shapes in attempts:
        try:
            with quiet(), traced(model, first=first), _as_it_runs(model):
                program = torch.export.export(
                    model, attempt_args, attempt_kwargs, dynamic_shapes=shapes, strict=False
                )
        except BuffersMadeError:
            raise
        except Exception as error:  # noqa: BLE001 - torch.export raises the model's errors too
            failure = error
            continue
        if shapes is None or _takes(program, _tensors(args, kwargs)):
            return program
    assert failure is not None
    reason = str(failure).strip().splitlines()[0] if str(failure).strip() else repr(failure)
    raise ModelError(
        f"torch.export cannot capture {type(model).__name__}: {reason[:300]}; "
        "check that the example inputs run through the model, or export it yourself to .pt2"
    ) from failure


@contextlib.contextmanager
def _as_it_runs(model: torch.nn.Module) -> Iterator[None]:
    """What lets torch.export trace more of a forward, and sooner."""
    with (
        AnswerConstants(model),
        ForetellResults(),
        flex_attention_written_out(),
        failed_calls_forgotten(),
        distributions_unchecked(),
        len_gives_sizes(),
    ):
        yield


def _takes(program: torch.export.ExportedProgram, given: list[torch.Tensor]) -> bool:
    """Whether sizes that the program has fixed are those of the inputs given.

    A model that reads its batch size with int(x.shape[0]), say, fixes it to the batch it was
    exported with.
    """
    names = set(program.graph_signature.user_inputs)
    nodes = program.graph.find_nodes(op="placeholder")
    values = [node.meta.get("val") for node in nodes if node.name in names]
    fixed = [value.shape for value in values if isinstance(value, torch.Tensor)]
    return len(fixed) != len(given) or all(
        is_free(size) or size == real
        for shape, leaf in zip(fixed, given, strict=True)
        for size, real in zip(shape, leaf.shape, strict=True)
    )


def _batch_of_two(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Inputs repeated to batch 2 where their first dimension is 1 (torch.export would fix a 1)."""
    sizes = {leaf.shape[0] for leaf in _tensors(args, kwargs) if leaf.ndim > 0}
    if len(sizes) != 1 or any(leaf.ndim == 0 for leaf in _tensors(args, kwargs)):
        return None
    if sizes != {1}:
        size = sizes.pop()
        if size == 0:
            return None
        return pytree.tree_map_only(torch.Tensor, lambda leaf: leaf[:2], (args, kwargs))  # type: ignore[no-any-return]
    return pytree.tree_map_only(  # type: ignore[no-any-return]
        torch.Tensor, lambda leaf: torch.cat([leaf, leaf]), (args, kwargs)
    )


def _dynamic_shapes(args: tuple[Any, ...], kwargs: dict[str, Any], batch: Any) -> Any:
    """A free first dimension of every tensor; torch puts them to the parameters of the forward."""
    shapes = torch.export.ShapesCollection()
    for leaf in _tensors(args, kwargs):
        shapes[leaf] = {0: batch}
    return shapes


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]


def _batch_dims(module: fx.GraphModule, leaves: int) -> tuple[int | None, ...]:
    dims: list[int | None] = []
    for node in module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            free = [i for i, size in enumerate(value.shape) if is_free(size)]
            dims.append(free[0] if free else None)
    return tuple(dims) if len(dims) == leaves else (None,) * leaves


@contextlib.contextmanager
def _evaluation_mode(model: torch.nn.Module) -> Iterator[bool]:
    """Put every module into eval mode and each back into its own mode afterwards.

    Yields whether all have modes, which what ``ExportedProgram.module()`` gives has not.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield to_evaluation(model)
    finally:
        for module, training in modes:
            module.training = training
