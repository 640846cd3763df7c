"""What kinds of switches and criteria hand over, checked here alone: they may be other people's.

Whatever is wrong with it is a :class:`UsageError` of one line, which names the method, what it gave
and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.criteria.base import Criterion, Evidence
from graphprune.errors import UsageError
from graphprune.graph.snapshot import Snapshot
from graphprune.io.text import few, one_line
from graphprune.plugin_calls import calling
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.training.gradients import learning

T = TypeVar("T")
_EXAMPLES = 2
_ROUNDING = 1e-6  # by which a number may miss its bounds


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
    given = _same_kind(asked, "settled()", lambda: asked.settled(teachable=teachable))
    _number(given, "step", lambda value: value > 0, "positive")
    _number(given, "decay", lambda value: value >= 0, "not below 0")
    return given


def _number(asked: SwitchMethod, name: str, fits: Callable[[float], bool], expected: str) -> None:
    value: object = _asked(asked, name, lambda: getattr(asked, name))
    if not (isinstance(value, Real) and math.isfinite(value) and fits(float(value))):
        raise UsageError(
            f"method {asked.name}: {name} is {one_line(repr(value))}; expected a finite number, "
            f"{expected}"
        )


def switch(asked: SwitchMethod, group: SwitchGroup) -> Switch:
    """A fresh switch for the group, tried out; the random state stays as it was.

    Raises:
        UsageError: it is none, is of another size, or its draws cannot be learned from.
    """
    given: object = _asked(asked, "switch(group)", lambda: asked.switch(group))
    if not isinstance(given, Switch):
        raise _unexpected(asked, "switch(group)", given, "a graphprune.switches.base.Switch")
    if given.handed_over_by is not None:
        raise UsageError(
            f"method {asked.name}: switch(group) gave the same switch twice; expected a fresh one "
            "each time, for each group learns its own"
        )
    given.handed_over_by = asked.name
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
    learned = [parameter for parameter in made.parameters() if parameter.requires_grad]
    if not learned:
        raise UsageError(
            f"method {asked.name}: switch(group) gave a switch without parameters, so nothing "
            "would be learned; make what it learns an nn.Parameter"
        )
    for what in ("can_close", "is_budget", "is_random"):
        _asked(asked, what, lambda what=what: bool(getattr(made, what)))  # type: ignore[misc]
    bounds = _asked(asked, "importance_range", lambda: [float(b) for b in made.importance_range])
    if len(bounds) != 2 or not bounds[0] < bounds[1]:
        raise UsageError(
            f"method {asked.name}: importance_range is {one_line(made.importance_range)}; expected "
            "the least importance and then the greatest"
        )
    if asked.antithetic and type(made).mirrored_gradient is Switch.mirrored_gradient:
        raise UsageError(
            f"method {asked.name} is antithetic, but its switches have no "
            "mirrored_gradient(difference), which adds the estimate to the gradients"
        )
    draws: dict[str, tuple[Callable[[], torch.Tensor], tuple[int, ...]]]
    draws = {"sample(None)": (lambda: made.sample(None), (size,))}
    if made.per_example:
        rows = (_EXAMPLES, size)
        draws[f"sample({_EXAMPLES})"] = (lambda: made.sample(_EXAMPLES), rows)
    for what, (call, shape) in {**draws, "mean()": (made.mean, (size,))}.items():
        value = _tensor(asked, what, _asked(asked, what, call), shape)
        if what != "mean()" and not asked.antithetic and not _reaches(value, learned):
            raise UsageError(
                f"method {asked.name}: {what} gave a tensor without a gradient by the parameters "
                "of the switch, so nothing would be learned; compute it from them, do not detach it"
            )
    if type(made).joint_penalty.__func__ is Switch.joint_penalty.__func__:  # type: ignore[attr-defined]
        _tensor(asked, "penalty()", _asked(asked, "penalty()", made.penalty), ())


def _reaches(value: torch.Tensor, parameters: list[nn.Parameter]) -> bool:
    """Whether the value has a gradient by any of the parameters."""
    if not value.requires_grad:
        return False
    found = torch.autograd.grad(value.sum(), parameters, allow_unused=True)
    return any(gradient is not None for gradient in found)


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
        UsageError: it is of another shape, negative or NaN.
    """
    what = f"uncertainty() of group {group}"
    given = _tensor(asked, what, _asked(asked, what, made.uncertainty), (made.size,))
    _within(asked, what, given, 0.0, math.inf)
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
        UsageError: it is of another shape or not finite, or a bound is on the wrong side.
    """
    what = f"interval(level) of group {group}"
    given = _asked(asked, what, lambda: made.interval(level))
    if given is None:
        return None
    bounds = _finite(asked, what, _tensor(asked, what, given, (2, made.size))).cpu()
    if bool((bounds[0] > bounds[1]).any()):
        raise UsageError(
            f"method {asked.name}: {what} gave a least value above the greatest; expected the "
            "least in the first row, the greatest in the second"
        )
    return bounds


def below(asked: SwitchMethod, made: Switch, share: float) -> torch.Tensor | None:
    """Probability that each scale is below a share, (D,), if the switch tells.

    Raises:
        UsageError: it is of another shape, or holds what is no probability.
    """
    what = "below(share)"
    given = _asked(asked, what, lambda: made.below(share))
    if given is None:
        return None
    found = _tensor(asked, what, given, (made.size,)).detach().double().cpu()
    _within(asked, what, found, 0.0, 1.0)
    return found.clamp(0, 1)


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
    with calling(asked, f"method {asked.name}", what):
        return call()


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


def _within(
    asked: SwitchMethod | Criterion, what: str, given: torch.Tensor, least: float, greatest: float
) -> None:
    lost = int((~((given >= least - _ROUNDING) & (given <= greatest + _ROUNDING))).sum())
    if lost:
        raise UsageError(
            f"method {asked.name}: {what} gave {lost} of {given.numel()} numbers that are NaN or "
            f"out of bounds; expected {least:.0f} to {greatest:.0f}"
        )


def _unexpected(
    asked: SwitchMethod | Criterion, what: str, given: object, expected: str
) -> UsageError:
    gave = f"a {type(given).__name__}" if given is not None else "None"
    if isinstance(given, torch.Tensor):
        gave = f"a {str(given.dtype).removeprefix('torch.')} tensor of shape {tuple(given.shape)}"
    return UsageError(f"method {asked.name}: {what} gave {gave}; expected {expected}")
