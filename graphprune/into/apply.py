"""Apply a compression to the user's own module: its tensors, its attributes, and the proof."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.capturing.carried import without_carried_state
from graphprune.capturing.faithful import fast_paths_matter
from graphprune.capturing.fast_paths import without_fast_paths
from graphprune.errors import CertificateError, UsageError
from graphprune.graph.chance import same_chance
from graphprune.graph.graphmodule import to_evaluation
from graphprune.graph.names import graph_name, model_name
from graphprune.graph.trees import Inputs, copy_of
from graphprune.into.attributes import set_certain
from graphprune.into.blame import explain
from graphprune.into.constructor import own_shapes
from graphprune.into.repair import Attributes, Repair, all_size_attributes
from graphprune.into.scale import proposed_scalings
from graphprune.into.sizes import Sizes, sizes_by_module
from graphprune.into.state import SavedState, fill, named_tensors, unique_tensors
from graphprune.into.trace import Call, GraphValues, Progress, follow, unknown_calls
from graphprune.io.text import reason
from graphprune.proof.certify import BATCHES, independent_outputs, model_limit
from graphprune.proof.check_inputs import check_inputs
from graphprune.proof.compare import prove_equal
from graphprune.proof.fresh_inputs import batch_size
from graphprune.proof.rounding import within_rounding
from graphprune.quiet import quiet

_SUSPICIOUS = 0.02


def apply(model: nn.Module, small: Captured, analysis: Analysis, *, seed: int = 0) -> None:
    """Shrink ``model`` in place to what ``small`` is, and prove that it computes the same.

    Every parameter and buffer gets the contents of its namesake in ``small`` and stays the same
    object, so that ties stay. Attributes that hold sizes follow; those that remain in doubt are
    searched for until the model's own forward agrees with the graph. Gradients are dropped.

    Args:
        model: an instance of the class that was captured (any weights, any device; the proof runs
            on that of ``small``).
        small: the small graph, with example inputs for it.
        analysis: of the graph before, whose nodes and parameters have the same names.
        seed: of the inputs of the proof.

    Raises:
        UsageError: the model's tensors are not those of the graph before, or its forward does not
            fit the small tensors; the model is then exactly what it was.
    """
    dense = analysis.module
    _check_fits(model, dense)
    saved = SavedState.take(model)
    try:
        _apply(model, small, analysis, saved, seed)
    except BaseException:
        saved.restore()
        raise


def _apply(
    model: nn.Module, small: Captured, analysis: Analysis, saved: SavedState, seed: int
) -> None:
    modes = [(module, module.training) for module in model.modules()]
    devices = [(tensor, tensor.device) for _, tensor in unique_tensors(model)]
    before = {path: own_shapes(module) for path, module in model.named_modules()}
    originals = all_size_attributes(model)
    sizes = sizes_by_module(analysis.module, small.module)
    if not to_evaluation(model):
        raise UsageError(
            f"{type(model).__name__} is a graph of torch.export, in which sizes are written down; "
            "give an instance of the class it was exported from, or use result.model"
        )
    fill(model, small.module)
    set_certain(model, sizes, before)
    # The same operations on the same tensors: more than rounding shows that something is amiss.
    limit = model_limit(small) * _SUSPICIOUS
    failed = _disagreement(model, small, seed, limit)
    with contextlib.ExitStack() as road:
        if failed is not None:
            with _as_it_was(model, analysis, saved):
                if _needs_road_of_training(model, small, seed, limit):
                    road.enter_context(without_fast_paths())
                ignore = _never_shown(model, analysis, (small.args, small.kwargs))
            progress = _repair(model, small, analysis, originals, sizes, ignore)
            failed = disagreement_at_widest(model, small, seed)
    if failed is not None:
        if not progress.running:
            raised = None if isinstance(failed, CertificateError) else failed
            progress = Progress(progress.steps, ("",), raised)
        blocks = [block for group in analysis.groups for block in group.in_step]
        heads = any(len(block.cells) > 1 for block in blocks)
        raise UsageError(explain(model, sizes, progress, failed, heads=heads)) from failed
    for tensor, device in devices:
        tensor.data = tensor.data.to(device)
    for module, training in modes:
        module.training = training


def _repair(
    model: nn.Module,
    small: Captured,
    analysis: Analysis,
    originals: Attributes,
    sizes: dict[str, Sizes],
    ignore: set[Call],
) -> Progress:
    """Search the attributes that are in doubt; how far the model then agrees with the graph."""
    inputs = (small.args, small.kwargs)
    values = GraphValues(small.module, inputs)
    scalings = proposed_scalings(analysis.module, small.module)
    paths = [path for path, _ in model.named_modules()]

    def measure(scaled: set[str]) -> Progress:
        inside = {(name, 0) for name in paths if any(_below(name, path) for path in scaled)}
        return follow(model, inputs, values, ignore | inside)

    return Repair(model, originals, sizes, scalings, measure).run()


def _check_fits(model: nn.Module, dense: nn.Module) -> None:
    have = dict(named_tensors(model))
    unsaved = set(named_tensors(dense)) - set(dense.state_dict())
    for name, tensor in named_tensors(dense).items():
        if name not in have:
            if name in unsaved:
                continue  # a constant that capture has found in the forward
            raise UsageError(
                f"the model has no {model_name(name)}; give an instance of the class that was "
                "compressed, called once if its forward makes that"
            )
        if have[name].shape != tensor.shape or have[name].dtype != tensor.dtype:
            shapes = [f"{tuple(t.shape)} {t.dtype}" for t in (have[name], tensor)]
            raise UsageError(
                f"{model_name(name)} of the model is {shapes[0]}, but that of the compressed one "
                f"was {shapes[1]}; give an instance as it was before compression"
            )
    extra = sorted(set(map(graph_name, model.state_dict())) - set(named_tensors(dense)))
    if extra:
        raise UsageError(
            f"the model has {model_name(extra[0])}, which the compressed one did not; "
            "give an instance of the class that was compressed"
        )


def _disagreement(model: nn.Module, small: Captured, seed: int, limit: float) -> Exception | None:
    """What shows that the model and the small graph are not equal; None if they are proved so."""
    free = independent_outputs(small.module)
    dynamic = batch_size(small) is not None
    for size in (None, *BATCHES) if dynamic else (None,):
        try:
            expected, actual = [], []
            for number, inputs in enumerate(check_inputs(small, seed, size)):
                args, kwargs = inputs
                with torch.no_grad(), same_chance():
                    expected.append(small.module(*args, **kwargs))
                # Some layers take another road when no gradient is wanted; both must be right.
                args, kwargs = copy_of(inputs)  # which some forwards write into
                carried = without_carried_state(model, args, kwargs)
                with quiet(), same_chance(), torch.set_grad_enabled(number == 0), carried:
                    actual.append(model(*args, **kwargs))
            prove_equal(actual, expected, limit, independent=free)
        except Exception as failed:  # noqa: BLE001 - the user's forward may raise anything
            return failed
    return None


def disagreement_at_widest(model: nn.Module, small: Captured, seed: int) -> Exception | None:
    """What shows that the model and the small graph are not equal; None if they are proved so.

    The limit is as wide as the small graph's own rounding where it has to be.
    """

    def check(limit: float) -> None:
        failed = _disagreement(model, small, seed, limit)
        if failed is not None:
            raise failed

    try:
        within_rounding(small, model_limit(small), check, seed=seed)
    except Exception as failed:  # noqa: BLE001 - the user's forward may raise anything
        return failed
    return None


def _needs_road_of_training(model: nn.Module, small: Captured, seed: int, limit: float) -> bool:
    """Whether the model as it was differs from its graph too, but on the road of training."""
    if not torch.backends.mha.get_fastpath_enabled():
        return False
    checked = check_inputs(small, seed)
    return any(fast_paths_matter(model, inputs, limit) for inputs in checked)


def _never_shown(model: nn.Module, analysis: Analysis, inputs: Inputs) -> set[Call]:
    """Module calls whose outputs are no values of the graph even before anything is shrunk."""
    try:
        return unknown_calls(model, inputs, GraphValues(analysis.module, inputs))
    except Exception as error:
        raise UsageError(
            f"{type(model).__name__} does not run on the inputs that it was compressed with "
            f"({reason(error)}); give an instance of the class that was compressed"
        ) from error


@contextlib.contextmanager
def _as_it_was(model: nn.Module, analysis: Analysis, saved: SavedState) -> Iterator[None]:
    """The model before anything was shrunk, with the weights of the graph before."""
    shrunk = SavedState.take(model)
    saved.restore()
    try:
        model.eval()
        fill(model, analysis.module)
        yield
    finally:
        saved.restore()
        shrunk.restore()


def _below(name: str, path: str) -> bool:
    return name != path and name.startswith(f"{path}." if path else "")
