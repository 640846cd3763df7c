"""What kinds of switches and criteria hand over, checked here alone: they may be other people's.

Whatever is wrong with it is a :class:`UsageError` of one line, which names the method, what it gave
and what was expected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import Criterion, Evidence
from graphprune.errors import GraphpruneError, UsageError
from graphprune.graph.snapshot import Snapshot
from graphprune.io.text import few, reason
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.training.gradients import learning

T = TypeVar("T")
_EXAMPLES = 2
_OURS = "graphprune"


def method(made: object, called: str) -> SwitchMethod | Criterion:
    """``made`` if channels can be ranked by it; ``called`` is what the user calls it.

    Raises:
        UsageError: it is a class, neither a kind of switch nor a criterion, or has no name.
    """
    if isinstance(made, type):
        raise UsageError(f"method {called} is a class; give an instance, {made.__name__}()")
    if not isinstance(made, SwitchMethod) and not callable(getattr(made, "score", None)):
        raise UsageError(
            f"method {called} is neither a SwitchMethod nor a criterion: it has no "
            "score(evidence); see graphprune.switches.method and graphprune.criteria.base"
        )
    if not isinstance(getattr(made, "name", None), str):
        raise UsageError(f"method {called} has no name; give its class a text as `name`")
    found: SwitchMethod | Criterion = made  # type: ignore[assignment]
    return found


@contextmanager
def model_left_alone(asked: SwitchMethod | Criterion, *modules: nn.Module) -> Iterator[None]:
    """While open the method is at work, which shares the memory of these modules.

    What it writes there would be cut and delivered, and the certificate compares with the same.

    Raises:
        UsageError: at the end a module is not what it was.
    """
    before = [(module, Snapshot.take(module, contents=True)) for module in modules]
    yield
    for module, old in before:
        changed = old.new_contents(Snapshot.take(module, contents=True))
        if changed:
            raise UsageError(
                f"method {asked.name} changed the model that it was to rank ({few(changed)}); let "
                "it work on copies, values.abs() in place of values.abs_()"
            )


def prepared(asked: SwitchMethod, analysis: Analysis) -> SwitchMethod:
    """The method with what it must know of the model.

    Raises:
        UsageError: it gives no kind of switch.
    """
    return _same_kind(asked, "prepared(analysis)", lambda: asked.prepared(analysis))


def with_spread(asked: SwitchMethod) -> SwitchMethod:
    """The method as it learns the spread of its scales.

    Raises:
        UsageError: it gives no kind of switch.
    """
    return _same_kind(asked, "with_spread()", asked.with_spread)


def settled(asked: SwitchMethod, *, teachable: bool) -> SwitchMethod:
    """The method as it will be used.

    Raises:
        UsageError: it gives no kind of switch, or could not learn.
    """
    return _same_kind(asked, "settled()", lambda: asked.settled(teachable=teachable))


def switch(asked: SwitchMethod, group: SwitchGroup) -> Switch:
    """A fresh switch for the group, tried out; the random state stays as it was.

    Raises:
        UsageError: it is none, is of another size, or its draws cannot be learned from.
    """
    given: object = _asked(asked, "switch(group)", lambda: asked.switch(group))
    if not isinstance(given, Switch):
        raise _unexpected(asked, "switch(group)", given, "a graphprune.switches.base.Switch")
    if given.size != group.size:
        raise UsageError(
            f"method {asked.name}: switch(group) gave a switch of {given.size} channels; "
            f"expected group.size, {group.size}"
        )
    with torch.random.fork_rng(), learning():
        _try_out(asked, given)
    return given


def _try_out(asked: SwitchMethod, made: Switch) -> None:
    size = made.size
    draws: dict[str, tuple[Callable[[], torch.Tensor], tuple[int, ...]]]
    draws = {"sample(None)": (lambda: made.sample(None), (size,))}
    if made.per_example:
        rows = (_EXAMPLES, size)
        draws[f"sample({_EXAMPLES})"] = (lambda: made.sample(_EXAMPLES), rows)
    for what, (call, shape) in {**draws, "mean()": (made.mean, (size,))}.items():
        value = _tensor(asked, what, _asked(asked, what, call), shape)
        if what != "mean()" and not asked.antithetic and not value.requires_grad:
            raise UsageError(
                f"method {asked.name}: {what} gave a tensor without a gradient, from which nothing "
                "is learned; compute it from parameters of the switch, and do not detach it"
            )
    if type(made).joint_penalty.__func__ is Switch.joint_penalty.__func__:  # type: ignore[attr-defined]
        _tensor(asked, "penalty()", _asked(asked, "penalty()", made.penalty), ())


def importance(asked: SwitchMethod, group: str, made: Switch) -> torch.Tensor:
    """What the group's channels are ranked by: float32 (D,) on the CPU, finite.

    Raises:
        UsageError: it is of another shape, or not finite.
    """
    what = f"importance() of group {group}"
    given = _tensor(asked, what, _asked(asked, what, made.importance), (made.size,))
    return _finite(asked, what, given).float().cpu()


def uncertainty(asked: SwitchMethod, group: str, made: Switch) -> torch.Tensor:
    """Standard deviation of the group's scales: float32 (D,) on the CPU.

    Raises:
        UsageError: it is of another shape.
    """
    what = f"uncertainty() of group {group}"
    given = _tensor(asked, what, _asked(asked, what, made.uncertainty), (made.size,))
    return given.detach().float().cpu()


def posterior(asked: SwitchMethod, group: str, made: Switch) -> torch.Tensor:
    """What was learned of the group: float32 (D,) or (..., D) on the CPU.

    Raises:
        UsageError: it is of another shape.
    """
    what = f"posterior() of group {group}"
    given = _tensor(asked, what, _asked(asked, what, made.posterior), (..., made.size))
    return given.detach().float().cpu()


def interval(asked: SwitchMethod, group: str, made: Switch, level: float) -> torch.Tensor | None:
    """Least and greatest importance of the group's channels, (2, D) on the CPU, if there are any.

    Raises:
        UsageError: it is of another shape.
    """
    what = f"interval(level) of group {group}"
    given = _asked(asked, what, lambda: made.interval(level))
    if given is None:
        return None
    return _tensor(asked, what, given, (2, made.size)).detach().cpu()


def below(asked: SwitchMethod, made: Switch, share: float) -> torch.Tensor | None:
    """Probability that each scale is below a share, (D,), if the switch tells.

    Raises:
        UsageError: it is of another shape.
    """
    given = _asked(asked, "below(share)", lambda: made.below(share))
    return None if given is None else _tensor(asked, "below(share)", given, (made.size,))


def scores(asked: Criterion, evidence: Evidence) -> dict[str, torch.Tensor]:
    """What a criterion scores: by group (D,) on the CPU, finite, without a gradient.

    Raises:
        UsageError: groups are missing, or scores are no tensors, of another shape or not finite.
    """
    given = _asked(asked, "score(evidence)", lambda: asked.score(evidence))
    return {
        group: _finite(asked, f"score(evidence) for group {group}", values)
        for group, values in by_group(asked, given, evidence.analysis).items()
    }


def by_group(asked: Criterion, given: object, analysis: Analysis) -> dict[str, torch.Tensor]:
    """What a criterion has scored: by group (D,) on the CPU, perhaps not finite.

    Raises:
        UsageError: groups are missing, or scores are no tensors or of another shape.
    """
    if not isinstance(given, Mapping):
        raise _unexpected(asked, "score(evidence)", given, "a dict of tensors by group name")
    found = {}
    for group in analysis.groups:
        if group.name not in given:
            raise UsageError(
                f"method {asked.name}: score(evidence) gave no scores of group {group.name}; "
                "expected those of every group of evidence.analysis.groups"
            )
        what = f"score(evidence) for group {group.name}"
        found[group.name] = _tensor(asked, what, given[group.name], (group.size,)).detach().cpu()
    return found


def _same_kind(asked: SwitchMethod, what: str, call: Callable[[], object]) -> SwitchMethod:
    given = _asked(asked, what, call)
    if not isinstance(given, SwitchMethod):
        raise _unexpected(asked, what, given, "a SwitchMethod (self, if nothing changes)")
    return given


def _asked(asked: SwitchMethod | Criterion, what: str, call: Callable[[], T]) -> T:
    """``call()``; whatever someone else's method raises becomes one line."""
    try:
        return call()
    except (GraphpruneError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if type(asked).__module__.partition(".")[0] == _OURS:
            raise
        raise UsageError(f"method {asked.name}: {what} raised {reason(error)}") from error


def _tensor(
    asked: SwitchMethod | Criterion, what: str, given: object, shape: tuple[Any, ...]
) -> torch.Tensor:
    """``given`` if it is a tensor of real numbers of this shape, which may begin with ``...``."""
    wanted = str(shape).replace("Ellipsis", "...")
    expected = f"real numbers in a tensor of shape {wanted}"
    if not isinstance(given, torch.Tensor):
        raise _unexpected(asked, what, given, expected)
    if shape[:1] == (...,):
        fits = given.shape[-len(shape) + 1 :] == shape[1:]
    else:
        fits = given.shape == shape
    if not fits or given.is_complex() or given.dtype == torch.bool:
        raise _unexpected(asked, what, given, expected)
    return given


def _finite(asked: SwitchMethod | Criterion, what: str, given: torch.Tensor) -> torch.Tensor:
    lost = int((~torch.isfinite(given)).sum())
    if lost:
        raise UsageError(
            f"method {asked.name}: {what} gave {lost} of {given.numel()} numbers that are not "
            "finite (NaN or infinity); channels cannot be ranked by them"
        )
    return given.detach()


def _unexpected(
    asked: SwitchMethod | Criterion, what: str, given: object, expected: str
) -> UsageError:
    gave = f"a {type(given).__name__}" if given is not None else "None"
    if isinstance(given, torch.Tensor):
        gave = f"a {str(given.dtype).removeprefix('torch.')} tensor of shape {tuple(given.shape)}"
    return UsageError(f"method {asked.name}: {what} gave {gave}; expected {expected}")
