"""The small graph of a folder, made anew from an instance of the class as it was before."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.plan import Plan, PlanError, plan_from_classes
from graphprune.errors import UsageError
from graphprune.exporters.pt2 import load_pt2
from graphprune.graph.names import model_name
from graphprune.into.apply import disagreement_at_widest
from graphprune.into.state import fill, named_tensors
from graphprune.io.text import one_line
from graphprune.passes.base import run_passes
from graphprune.passes.shrink import Shrink

_HINT = "give an instance of the class that was compressed, as it was before"


def rebuild(module: nn.Module, folder: Path, seed: int = 0) -> tuple[Captured, Analysis]:
    """The small graph that ``folder`` holds, and the analysis of the dense graph it is cut from.

    :func:`graphprune.into.apply.apply` needs both with nodes of the same names, which those of
    ``model.pt2`` have no longer. So the instance is captured and cut again, gets the weights of
    the folder, and must then compute what ``model.pt2`` does: whether it is the right instance is
    proved by that, not by the fingerprint, which changes with the way of export.

    Args:
        module: an instance of the class that was compressed; it stays as it is.
        folder: of one graph, with ``model.pt2`` and ``plan.json``.
        seed: of the inputs of the proof.

    Raises:
        ModelError: ``model.pt2`` cannot be read.
        UsageError: ``plan.json`` cannot be read, or the module is no such instance.
    """
    _, saved = load_pt2(folder / "model.pt2")
    plan = Plan.load(folder / "plan.json")
    _check_fits(module, saved, plan)
    try:
        whole = capture(copy.deepcopy(module).cpu(), (saved.args, saved.kwargs))
        analysis = analyse(whole.module)
        small = _cut(whole, analysis, plan, saved)
    except Exception as error:  # the module's own code runs, and the plan may be another's
        raise UsageError(_refusal(module, folder, error)) from error
    failed = disagreement_at_widest(small.module, saved, seed)
    if failed is not None:
        raise UsageError(_refusal(module, folder, failed)) from failed
    return small, analysis


def _cut(whole: Captured, analysis: Analysis, plan: Plan, saved: Captured) -> Captured:
    """The graph cut to the plan, with weights, inputs and free dimensions of the saved one."""
    known = {name: dims for name, dims in plan.kept.items() if name in analysis.leaves}
    made = plan_from_classes(analysis, Plan(known, plan.fingerprint).classes(analysis))
    module = copy.deepcopy(whole.module)
    run_passes(module, [Shrink(analysis=analysis, plan=made)])
    _check_made(made, module, plan, saved.module)
    fill(module, saved.module)
    return Captured(module, saved.args, saved.kwargs, saved.batch_dims)


def _check_made(made: Plan, module: nn.Module, plan: Plan, saved: nn.Module) -> None:
    """Refuse what equality would not show: weights fit any width, and an instance may be wider."""
    small = named_tensors(module)
    for name, tensor in saved.named_parameters(remove_duplicate=False):
        if small[name].shape != tensor.shape:
            shapes = f"{tuple(small[name].shape)}, but model.pt2 holds {tuple(tensor.shape)}"
            raise PlanError(f"plan.json leaves {model_name(name)} as {shapes}")
    if made.fingerprint == plan.fingerprint:
        return
    for name, (before, _) in plan.widths.items():
        now = made.widths.get(name, (before, 0))[0]
        if now != before:
            raise PlanError(f"{model_name(name)} has {now} channels to remove, but had {before}")


def _check_fits(module: nn.Module, saved: Captured, plan: Plan) -> None:
    """Refuse what cannot have become the saved model, before positions of the plan are used."""
    have = named_tensors(module)
    for name, tensor in saved.module.named_parameters(remove_duplicate=False):
        if name not in have:
            raise UsageError(f"{type(module).__name__} has no {model_name(name)}; {_HINT}")
        own, kept = have[name], plan.kept.get(name, {})
        fits = own.ndim == tensor.ndim and own.dtype == tensor.dtype
        if not fits or not all(
            _holds(size, after, kept.get(dim))
            for dim, (size, after) in enumerate(zip(own.shape, tensor.shape, strict=True))
        ):
            raise UsageError(
                f"{model_name(name)} of {type(module).__name__} is {tuple(own.shape)} {own.dtype}, "
                f"which cannot have become the compressed one's {tuple(tensor.shape)} "
                f"{tensor.dtype}; {_HINT}"
            )


def _holds(size: int, after: int, positions: Any) -> bool:
    """Whether a dimension of ``size`` has the positions kept, and loses some if any are named."""
    if positions is None:
        return size == after
    rows = [row for row in positions if isinstance(row, list)] or [positions]
    return after < size and all(0 <= place < size for row in rows for place in row)


def _refusal(module: nn.Module, folder: Path, error: Exception) -> str:
    why = one_line(error).rstrip(".")
    return f"{type(module).__name__} is not what {folder} was compressed from ({why}); {_HINT}"
