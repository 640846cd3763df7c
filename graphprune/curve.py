"""What accuracy is left at which budget, before any fine-tuning: a curve for each method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import nn

from graphprune.analysis.groups import Analysis
from graphprune.capturing.capture import Captured
from graphprune.choosing.target import KINDS, Target
from graphprune.compressed import CompressConfig
from graphprune.cutting import cut, prove
from graphprune.delivery.measure import count_parameters, macs_per_example
from graphprune.errors import DataError, TargetError, UsageError
from graphprune.importance.methods import Method, resolve_method
from graphprune.importance.scoring import Scores
from graphprune.io import Loss
from graphprune.io.text import one_line
from graphprune.numbers_given import is_number
from graphprune.partial.asked import whole_graph_for
from graphprune.run import Run, begin
from graphprune.training.evaluate import require_finite
from graphprune.training.gradients import learning

CONTROLS = ("l2", "random")
FRACTIONS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class CurveConfig:
    """Where a curve is drawn.

    Attributes:
        kind: the budget's: ``channels``, ``params`` or ``macs``.
        fractions: of it that stay, one point each.
        controls: methods to compare with, by name, with options as in ``taylor{batches=4}``; one
            that is the method of interest itself is left out.
        compress: everything that decides what :func:`graphprune.compress` would cut: how switches
            are learned, ranking, heads, widths, passes, seed. What it says of training and of
            delivery plays no part.
    """

    kind: str = "macs"
    fractions: tuple[float, ...] = FRACTIONS
    controls: tuple[str, ...] = CONTROLS
    compress: CompressConfig = field(default_factory=CompressConfig)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"budget {self.kind!r} is not known; use one of {', '.join(KINDS)}")
        points = self.fractions if isinstance(self.fractions, Sequence) else ()
        if not points or not all(is_number(one) and 0 < one <= 1 for one in points):
            raise UsageError(
                "the points of a curve are fractions above 0 and at most 1, such as (0.8, 0.5), "
                f"got {one_line(repr(self.fractions))}"
            )
        if isinstance(self.controls, str):
            raise UsageError(
                f"controls of a curve are several names, such as ({self.controls!r},); got one text"
            )


@dataclass(frozen=True)
class Point:
    """One budget of one method.

    Attributes:
        asked: the fraction asked for.
        reached: the fraction of the budget's kind that stays, counted.
        figures: of the held-out data: ``accuracy`` and ``loss``, or ``distance`` where there are
            neither labels nor a loss.
    """

    asked: float
    reached: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """Points by method, the one asked for first, and the dense model's figures.

    Attributes:
        kind: of the budget.
        dense: figures of the whole model on the same data.
        points: method (with its options, where two have one name) to points, in the order of the
            fractions; budgets that cannot be reached are left out.
        notes: lines for the user.
    """

    kind: str
    dense: dict[str, float]
    points: dict[str, list[Point]]
    notes: tuple[str, ...] = ()

    @property
    def measure(self) -> str:
        """What is compared: ``accuracy``, else ``loss``, else ``distance``."""
        return next(name for name in ("accuracy", "loss", "distance") if name in self.dense)

    def cheapest(self, method: str, margin: float) -> Point | None:
        """The smallest budget down to which every point is within ``margin`` of the dense model.

        ``margin`` is in units of the measure: for accuracy 0.01 is one percentage point. A figure
        that is not finite is within no margin.

        Raises:
            UsageError: there is no such method on the curve, or the margin is no number from 0 on.
        """
        check_margin(margin)
        if method not in self.points:
            raise UsageError(f"the curve has no method {method!r}; it has {', '.join(self.points)}")
        sign = 1 if self.measure == "accuracy" else -1
        best = None
        for point in sorted(self.points[method], key=lambda one: -one.reached):
            lost = sign * (self.dense[self.measure] - point.figures[self.measure])
            if not lost <= margin:  # so NaN ends it too
                break
            best = point
        return best

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dump``; figures that are not finite are None."""
        points = {
            name: [{**vars(point), "figures": _plain(point.figures)} for point in found]
            for name, found in self.points.items()
        }
        dense = _plain(self.dense)
        return {"kind": self.kind, "dense": dense, "points": points, "notes": list(self.notes)}


def check_margin(margin: float) -> None:
    """Refuse a margin that nothing could be within.

    Raises:
        UsageError: it is below 0, not finite or no number.
    """
    if not is_number(margin) or margin < 0:
        raise UsageError(f"margin is {margin!r}; give a number from 0 on, such as 0.01")


def _plain(figures: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


@learning()
def draw_curve(
    model: nn.Module | torch.export.ExportedProgram,
    example_inputs: Any,
    data: Any,
    *,
    method: str | Method = "auto",
    loss: Loss | None = None,
    config: CurveConfig | None = None,
) -> Curve:
    """Cut a model to several budgets by several methods and judge each on the held-out data.

    Nothing is fine-tuned: the figures are those of the masked model, which every small model is
    proved to equal.

    Args:
        model: as :func:`graphprune.compress` takes it; it is not changed.
        example_inputs: likewise.
        data: likewise; part of it is held out.
        method: the method of interest, compared with ``config.controls``.
        loss: ``loss(output, target)``, see :func:`graphprune.compress`.
        config: see :class:`CurveConfig`.

    Raises:
        UsageError: a method or a control is not known.
        ModelError: the model cannot be captured whole.
        DataError: the data do not fit the model.
        TargetError: no budget can be reached.
        CertificateError: a small model is not proved equal to the masked original.
        TrainingError: the original's own loss is NaN or infinite, or one became so in learning.
    """
    config = config or CurveConfig()
    if data is None:
        raise DataError("a curve judges small models on held-out data; give --data (data=)")
    methods = _named(method, config.controls)
    with whole_graph_for("a curve"):
        run = begin(model, example_inputs, data, loss, config.compress)
    analysis = run.analyse()
    judge = _Judge(run, config)
    require_finite(run.dense_figures)
    points: dict[str, list[Point]] = {}
    trained = []
    total = len(methods) * len(config.fractions)
    for number, (name, one) in enumerate(methods.items()):
        scores = run.score(analysis, one, intervals=False)
        trained += [name] if scores.trained else []
        done = number * len(config.fractions)
        points[name] = judge.points(scores, analysis, (done, total))
    if not any(points.values()):
        raise TargetError(
            f"none of the budgets {config.kind}={', '.join(map(str, config.fractions))} "
            "can be reached; ask for more to stay"
        )
    return Curve(config.kind, run.dense_figures, points, _notes(trained, list(points)))


def _notes(trained: Sequence[str], methods: Sequence[str]) -> tuple[str, ...]:
    """What else sets methods apart than the order in which channels go."""
    given = [name for name in methods if name not in trained]
    if not trained or not given:
        return ()
    return (
        f"{', '.join(trained)}: the weights were trained along with the switches, those of "
        f"{', '.join(given)} are the model's own; what lies between their figures is not the "
        "ranking alone",
    )


def _named(main: str | Method, controls: Sequence[str | Method]) -> dict[str, Method]:
    """The methods by name, each once, the main one first; with its options where names are equal.

    Raises:
        UsageError: one is not known, found before any of them learns.
    """
    found: list[Method] = []
    for one in (main, *controls):
        method = resolve_method(one, has_data=True)[0]
        if method not in found:
            found.append(method)
    names = [method.name for method in found]
    shown = [
        method.name if names.count(method.name) == 1 else _with_options(method) for method in found
    ]
    return {
        name if shown.count(name) == 1 else f"{name} ({number})": method
        for number, (name, method) in enumerate(zip(shown, found, strict=True), 1)
    }


def _with_options(method: Method) -> str:
    """The name with the options that are not as they were."""
    if not is_dataclass(method):
        return method.name
    options = [
        f"{one.name}={getattr(method, one.name)}"
        for one in fields(method)
        if getattr(method, one.name) != one.default
    ]
    return f"{method.name}{{{','.join(options)}}}" if options else method.name


@dataclass(frozen=True)
class _Judge:
    run: Run
    config: CurveConfig

    def figures(self, module: nn.Module) -> dict[str, float]:
        assert self.run.feed is not None
        return self.run.judge(module, self.run.feed)

    def points(self, scores: Scores, analysis: Analysis, position: tuple[int, int]) -> list[Point]:
        found = []
        for number, fraction in enumerate(self.config.fractions):
            point = self._point(scores, analysis, fraction)
            if point is not None:
                found.append(point)
            if self.run.config.progress is not None:
                done, total = position[0] + number + 1, position[1]
                self.run.config.progress("curve", done, total, point.figures if point else {})
        return found

    def _point(self, scores: Scores, analysis: Analysis, fraction: float) -> Point | None:
        target = Target(self.config.kind, fraction)
        try:
            choice = self.run.decide(analysis, scores, target)
        except TargetError:
            return None
        whole = scores.trained or (self.run.dense, analysis)
        small = cut(*whole, choice.plan)
        prove(small, whole[1], choice.plan, self.run.config.learn.seed)
        reached = _reached(self.config.kind, self.run.dense, small, choice.reached)
        return Point(fraction, reached, self.figures(small.module))


def _reached(kind: str, whole: Captured, small: Captured, channels: float) -> float:
    if kind == "params":
        return count_parameters(small.module) / count_parameters(whole.module)
    if kind == "macs":
        return macs_per_example(small)[0] / macs_per_example(whole)[0]
    return channels
