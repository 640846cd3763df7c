"""The deletion probe: what an operator without a rule does to channels, found by taking some away.

``op(x without some indices)`` is compared with ``op(x)``. If the same indices are missing from the
result along some dimension, and all else is as it was, the channels pass through: *carried*. If
the shape is the same, and the values are those for zeros in place of what was removed, they are
*contracted*. Anything else may not be shortened. Every conclusion must hold for several random
choices of indices on several kinds of random data, for all conclusions together as well, and it
must not hold merely because the result does not depend on the input at all.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from graphprune.quiet import quiet
from graphprune.rules.trial import DRAWS, Signature, alike

Place = tuple[int, int]
"""(tensor, dimension)"""

_COMBINATIONS = 128
_SECONDS = 30.0
"""Beyond this the operator counts as too slow; far above what any call of its size should take."""


@dataclass(frozen=True)
class Axis:
    """Dimensions that are shortened together.

    Attributes:
        members: (tensor argument, dimension) of each.
        carried: (output, dimension) where the same indices go missing; none: contracted.
    """

    members: tuple[Place, ...]
    carried: tuple[Place, ...]


@dataclass(frozen=True)
class Findings:
    """What the probe found.

    Attributes:
        axes: dimensions that may be shortened.
        why: for those of the dimensions asked about that may not, the reason.
    """

    axes: tuple[Axis, ...] = ()
    why: dict[Place, str] = field(default_factory=dict)


class _TooSlowError(Exception):
    pass


@dataclass(frozen=True)
class _Outcome:
    """Whether a deletion came out as hoped, whether it was felt at all, and where it shows."""

    fits: bool
    depends: bool = False
    carried: tuple[Place, ...] = ()


@functools.lru_cache(maxsize=1024)
def probe(signature: Signature, wanted: tuple[Place, ...]) -> Findings:
    """Find out which dimensions of tensor arguments may be shortened.

    Runs the operator on the CPU some dozens of times. The same for the same arguments.

    Args:
        signature: the call.
        wanted: the dimensions in question.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad(), quiet():
        try:
            prober = _Prober(signature)
            reason = prober.unfit()
            return _refuse(wanted, reason) if reason else prober.search(wanted)
        except _TooSlowError:
            return _refuse(wanted, "trying it out takes too long")


def _refuse(wanted: Sequence[Place], reason: str) -> Findings:
    return Findings((), dict.fromkeys(wanted, reason))


class _Prober:
    """One probing of one call."""

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._until = time.monotonic() + _SECONDS
        self._data = [signature.draw(number) for number in range(len(DRAWS))]
        self._full: list[list[Tensor]] = []

    def unfit(self) -> str:
        """Why nothing can be learned from this operator; "" if something can."""
        for data in self._data:
            before = torch.get_rng_state()
            copies = [tensor.clone() for tensor in data]
            results = self._run(data)
            if results is None:
                return "it fails on random data"
            if tuple(tuple(one.shape) for one in results) != self._shapes():
                return "its result has another shape than foretold"
            again = self._run(copies)
            if again is None or not all(_same(a, b) for a, b in zip(results, again, strict=True)):
                return "it is not deterministic"
            if not torch.equal(before, torch.get_rng_state()):
                return "it draws random numbers"
            if not all(_same(a, b) for a, b in zip(copies, data, strict=True)):
                return "it overwrites its arguments"
            self._full.append(results)
        filled = [n for n, one in enumerate(self._signature.outputs) if 0 not in one.shape]
        for number in filled:
            draws = [results[number] for results in self._full]
            if alike(draws[0], draws[-1]):
                return "its result does not depend on its arguments"
            if sum(_mostly_finite(draw) for draw in draws) < 2:
                return "its result on random data is not finite"
        return "" if filled else "it returns nothing"

    def search(self, wanted: Sequence[Place]) -> Findings:
        """Find the axes through these dimensions."""
        found: dict[Place, Axis] = {}
        why: dict[Place, str] = {}
        for place in wanted:
            axis = self._axis_through(place)
            if isinstance(axis, str):
                why[place] = axis
            else:
                found[place] = axis
        axes = tuple(dict.fromkeys(found.values()))
        counted = [member for axis in axes for member in axis.members]
        if len(counted) > len(set(counted)):
            return _refuse(wanted, "which dimensions go together is not clear")
        if len(axes) > 1 and not self._hold_together(axes):
            return _refuse(wanted, "its dimensions cannot be shortened together")
        return Findings(axes, why)

    # -- one axis ------------------------------------------------------------------------------

    def _axis_through(self, place: Place) -> Axis | str:
        """The fewest dimensions of other arguments that must go with this one, if any will do."""
        size = self._size(place)
        if size in self._signature.numbers:
            return f"the size {size} stands among its arguments"
        ran = False
        combinations = itertools.islice(self._combinations(place, size), _COMBINATIONS)
        for _, several in itertools.groupby(combinations, key=len):
            fitting = []
            for members in several:
                outcome = self._outcome(members, _choices(size, 0)[0], 0)
                ran |= outcome is not None
                if outcome is not None and outcome.fits:
                    axis = Axis(members, outcome.carried)
                    fitting += [axis] if self._verified(axis) else []
            if len(fitting) == 1:
                return fitting[0]
            if fitting:
                return "which dimensions go with it is not clear"
        return "it gives other values" if ran else "it cannot run"

    def _combinations(self, place: Place, size: int) -> Iterator[tuple[Place, ...]]:
        """The place with dimensions of the same size, at most one of each other argument."""
        partners = []
        for number, tensor in enumerate(self._signature.tensors):
            if number != place[0]:
                dims = [dim for dim, other in enumerate(tensor.shape) if other == size]
                if dims:
                    partners.append([(number, dim) for dim in dims])
        for count in range(len(partners) + 1):
            for chosen in itertools.combinations(partners, count):
                for others in itertools.product(*chosen):
                    yield tuple(sorted((place, *others)))

    def _outcome(self, members: tuple[Place, ...], gone: Tensor, draw: int) -> _Outcome | None:
        """What removing these indices does; None where it does not run."""
        shorter = self._run(_delete(self._data[draw], members, gone))
        full = self._full[draw]
        if shorter is None or len(shorter) != len(full):
            return None
        zeroed = self._run(_zero(self._data[draw], members, gone))
        if zeroed is None:
            return _Outcome(fits=False)
        size = self._size(members[0])
        carried: list[Place] = []
        depends = False
        for number, (small, whole, blank) in enumerate(zip(shorter, full, zeroed, strict=True)):
            if small.ndim != whole.ndim:
                return _Outcome(fits=False)
            dims = [d for d in range(small.ndim) if small.shape[d] != whole.shape[d]]
            if any(whole.shape[d] != size or small.shape[d] != size - len(gone) for d in dims):
                return _Outcome(fits=False)
            places = [(0, d) for d in dims]
            expected = [blank, whole] if dims else [blank]
            if not all(alike(small, _delete([one], places, gone)[0]) for one in expected):
                return _Outcome(fits=False)
            depends |= bool(dims) or not alike(small, whole)
            carried += [(number, d) for d in dims]
        return _Outcome(fits=True, depends=depends, carried=tuple(carried))

    def _verified(self, axis: Axis) -> bool:
        """Whether a conclusion holds for all data and choices of indices."""
        size = self._size(axis.members[0])
        felt = [False, False, True]  # a single index may be too little to tell
        for draw in range(len(DRAWS)):
            for choice, gone in enumerate(_choices(size, draw)):
                outcome = self._outcome(axis.members, gone, draw)
                if outcome is None or not outcome.fits or outcome.carried != axis.carried:
                    return False
                felt[choice] |= outcome.depends
        if not all(felt):
            return False
        return all(
            any(_varies(results[number], dim) for results in self._full)
            for number, dim in axis.carried
        )

    # -- all axes ------------------------------------------------------------------------------

    def _hold_together(self, axes: Sequence[Axis]) -> bool:
        """Whether all conclusions hold when acted upon at the same time."""
        for draw, data in enumerate(self._data):
            for choice in range(3):
                shorter, blank = data, data
                expected_cuts: list[tuple[tuple[Place, ...], Tensor]] = []
                for number, axis in enumerate(axes):
                    size = self._size(axis.members[0])
                    gone = _choices(size, 100 * draw + number)[choice]
                    shorter = _delete(shorter, axis.members, gone)
                    blank = _zero(blank, axis.members, gone)
                    expected_cuts.append((axis.carried, gone))
                small, zeroed = self._run(shorter), self._run(blank)
                if small is None or zeroed is None:
                    return False
                for places, gone in expected_cuts:
                    zeroed = _delete(zeroed, places, gone)
                if not all(alike(a, b) for a, b in zip(small, zeroed, strict=True)):
                    return False
        return True

    # -- helpers -------------------------------------------------------------------------------

    def _size(self, place: Place) -> int:
        return self._signature.tensors[place[0]].shape[place[1]]

    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(output.shape for output in self._signature.outputs)

    def _run(self, tensors: list[Tensor]) -> list[Tensor] | None:
        if time.monotonic() > self._until:
            raise _TooSlowError
        return self._signature.run(tensors)


def _choices(size: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices to remove: a random half, the other half, and one."""
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    half = size // 2
    return order[:half].sort().values, order[half:].sort().values[: size - 1], order[:1]


def _delete(tensors: list[Tensor], places: Sequence[Place], gone: Tensor) -> list[Tensor]:
    result = list(tensors)
    for number, dim in places:
        kept = torch.ones(result[number].shape[dim], dtype=torch.bool)
        kept[gone] = False
        result[number] = result[number].index_select(dim, kept.nonzero().reshape(-1))
    return result


def _zero(tensors: list[Tensor], places: Sequence[Place], gone: Tensor) -> list[Tensor]:
    result = list(tensors)
    for number, dim in places:
        result[number] = result[number].index_fill(dim, gone, 0)
    return result


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, rtol=0, atol=0, equal_nan=True)


def _mostly_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).float().mean() >= 0.5) if tensor.numel() else True


def _varies(tensor: Tensor, dim: int) -> bool:
    return not alike(tensor, tensor.narrow(dim, 0, 1).expand_as(tensor))
