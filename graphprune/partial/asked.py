"""What is asked of a model in parts, what it cannot have, and why it is in parts at all."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from graphprune.choosing.target import AutoTarget, Target
from graphprune.criteria.base import needs_data
from graphprune.errors import ModelError, UsageError
from graphprune.importance.methods import AUTO, Method, resolve_method
from graphprune.into.state import SavedState
from graphprune.io.text import one_line
from graphprune.switches.method import SwitchMethod

if TYPE_CHECKING:
    from graphprune.compressed import CompressConfig

Whole = TypeVar("Whole")
Parts = TypeVar("Parts")
_NOT_THE_USERS = ("torch", "graphprune")


@dataclass(frozen=True)
class Request:
    """What was asked of :func:`graphprune.compress.compress`.

    Attributes:
        target: what fraction of the model stays.
        method: as given, ``auto`` included.
        has_data: whether data were given.
        finetune_epochs: epochs asked for.
        config: the rest.
    """

    target: Target
    method: str | Method
    has_data: bool
    finetune_epochs: int
    config: CompressConfig


def fraction_of(target: Target | AutoTarget, failure: ModelError) -> Target:
    """The target, if it is one that a model in parts can have.

    Raises:
        UsageError: it is not.
    """
    if isinstance(target, Target):
        return target
    raise UsageError(
        f"target {target.name} learns from data, for which the whole model must be a graph; name a "
        f"fraction such as channels=0.5: the model cannot be captured whole ({explain(failure)})"
    )


def allowed(request: Request, failure: ModelError) -> tuple[Method, list[str]]:
    """The method to use, and notes for the user.

    Raises:
        UsageError: something is asked for that a model in parts cannot have.
    """
    config, why = request.config, f"the model cannot be captured whole ({explain(failure)})"
    trains = config.recalibrate or config.reconstruct
    if request.finetune_epochs or (request.has_data and trains):
        raise UsageError(
            "fine-tuning, --recalibrate and --reconstruct need the whole model as a graph; "
            f"compress without them and train the result yourself: {why}"
        )
    if config.passes:
        raise UsageError(f"graph passes need the whole model as a graph; leave them out: {why}")
    if config.ranking != "local":
        raise UsageError(
            f"ranking {config.ranking} compares groups across the whole graph; use local: {why}"
        )
    method, _ = resolve_method(request.method, request.method != AUTO)
    if isinstance(method, SwitchMethod) or needs_data(method):
        raise UsageError(f"method {method.name} needs the whole model as a graph; use l2: {why}")
    notes = [f"captured in parts: {why}"]
    if request.has_data:
        notes.append("the data are not used: what ranks by data needs the whole model as a graph")
    if request.method == AUTO:
        notes.append("channels were ranked by the L2 norm of their weights")
    return method, notes


def whole_or_parts(
    model: Any, whole: Callable[[], Whole], parts: Callable[[nn.Module, ModelError], Parts]
) -> Whole | Parts:
    """What ``whole`` gives, or where torch.export refuses the module in it, what ``parts`` gives.

    Args:
        model: that ``whole`` captures.
        whole: raises ModelError where the model cannot be captured.
        parts: called with the module, its attributes as they were before, and that error.
    """
    before = SavedState.take(model) if isinstance(model, nn.Module) else None
    try:
        return whole()
    except ModelError as failure:
        if before is None or not _refused_by_export(failure):
            raise
        before.restore()  # what the failed attempt may have left in the module's attributes
        return parts(model, failure)


@contextlib.contextmanager
def whole_graph_for(task: str) -> Iterator[None]:
    """Where torch.export refuses a model inside the block, say that ``task`` cannot do without.

    Raises:
        ModelError: the refusal, with what can be done.
    """
    try:
        yield
    except ModelError as failure:
        if not _refused_by_export(failure):
            raise
        raise ModelError(
            f"{failure}; {task} needs the whole model as a graph, compress and inspect alone take "
            "it in parts"
        ) from failure.__cause__


def _refused_by_export(failure: ModelError) -> bool:
    """Whether torch.export said something; what capture itself refuses has no cause."""
    return failure.__cause__ is not None


def explain(failure: BaseException) -> str:
    """What torch.export said, and the line of the user's model where it stopped."""
    cause = failure.__cause__ or failure
    text = one_line(str(cause).strip().splitlines()[0] if str(cause).strip() else repr(cause))
    frames = [
        frame
        for frame in traceback.extract_tb(cause.__traceback__)
        if not any(f"/{own}/" in frame.filename.replace("\\", "/") for own in _NOT_THE_USERS)
    ]
    if not frames:
        return text
    last = frames[-1]
    return f"{text} at {last.filename}:{last.lineno}: {one_line(last.line or '', 100)}"
