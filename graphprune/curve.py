"""What accuracy is left at which budget, before any fine-tuning: a curve for each method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.choosing.budget import choose
from graphprune.choosing.target import KINDS, Target
from graphprune.choosing.thinning import FOR_HARDWARE, Thinning
from graphprune.cutting import cut, prove
from graphprune.delivery.measure import count_parameters, macs_per_example
from graphprune.errors import TargetError, UsageError
from graphprune.importance.learn import LearnConfig
from graphprune.importance.methods import Method, resolve_method
from graphprune.importance.scoring import Scores, ranking_batches, score_channels
from graphprune.io import Loss
from graphprune.partial.asked import whole_graph_for
from graphprune.preconditions import check_values
from graphprune.progress import Progress
from graphprune.training.evaluate import evaluate
from graphprune.training.feed import Feed, prepared

CONTROLS = ("l2", "random")
FRACTIONS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class CurveConfig:
    """Where a curve is drawn.

    Attributes:
        kind: the budget's: ``channels``, ``params`` or ``macs``.
        fractions: of it that stay, one point each.
        controls: methods to compare with.
        ranking, thinning: what is compared and left, as :class:`graphprune.CompressConfig` has it.
        batch_size: examples per batch.
        learn: how switches are learned; its seed is that of everything random.
        progress: called as ``progress(stage, done, total, figures)``.
    """

    kind: str = "macs"
    fractions: tuple[float, ...] = FRACTIONS
    controls: tuple[str, ...] = CONTROLS
    ranking: str = "local"
    thinning: Thinning = FOR_HARDWARE
    batch_size: int = 64
    learn: LearnConfig = field(default_factory=LearnConfig)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f"budget {self.kind!r} is not known; use one of {', '.join(KINDS)}")
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise UsageError("the points of a curve are fractions above 0 and at most 1")


@dataclass(frozen=True)
class Point:
    """One budget of one method.

    Attributes:
        asked: the fraction asked for.
        reached: the fraction of the budget's kind that stays, counted.
        figures: of the held-out data: ``accuracy`` and ``loss``, or ``distance`` without labels.
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
        points: method to points, in the order of the fractions; budgets that cannot be reached are
            left out.
    """

    kind: str
    dense: dict[str, float]
    points: dict[str, list[Point]]

    @property
    def measure(self) -> str:
        """What is compared: ``accuracy``, else ``loss``, else ``distance``."""
        return next(name for name in ("accuracy", "loss", "distance") if name in self.dense)

    def cheapest(self, method: str, margin: float) -> Point | None:
        """The smallest budget down to which every point is within ``margin`` of the dense model.

        ``margin`` is in units of the measure: for accuracy 0.01 is one percentage point.
        """
        sign = 1 if self.measure == "accuracy" else -1
        best = None
        for point in sorted(self.points[method], key=lambda one: -one.reached):
            if sign * (self.dense[self.measure] - point.figures[self.measure]) > margin:
                break
            best = point
        return best

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``json.dump``."""
        points = {name: [vars(point) for point in found] for name, found in self.points.items()}
        return {"kind": self.kind, "dense": self.dense, "points": points}


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
        ModelError: the model cannot be captured whole.
        DataError: the data do not fit the model.
        TargetError: no budget can be reached.
        CertificateError: a small model is not proved equal to the masked original.
    """
    config = config or CurveConfig()
    main, _ = resolve_method(method, data is not None)
    with whole_graph_for("a curve"):
        captured = capture(model, example_inputs)
    check_values(captured.module)
    feed = prepared(data, captured, config.batch_size, loss)
    analysis = analyse(captured.module)
    judge = _Judge(captured, feed, loss, config)
    ranked = [main, *(control for control in config.controls if control != main.name)]
    dense = judge.figures(captured.module)
    points: dict[str, list[Point]] = {}
    total = len(ranked) * len(config.fractions)
    for number, one in enumerate(ranked):
        scores = score_channels(
            captured,
            analysis,
            one,
            ranking_batches(feed, one, config.learn),
            learn=config.learn,
            loss=loss,
            progress=config.progress,
        )
        done = number * len(config.fractions)
        points[scores.method] = judge.points(scores, analysis, (done, total))
    if not any(points.values()):
        raise TargetError(
            f"none of the budgets {config.kind}={', '.join(map(str, config.fractions))} "
            "can be reached; ask for more to stay"
        )
    return Curve(config.kind, dense, points)


@dataclass(frozen=True)
class _Judge:
    captured: Captured
    feed: Feed
    loss: Loss | None
    config: CurveConfig

    def figures(self, module: nn.Module) -> dict[str, float]:
        return evaluate(module, self.feed.held_out(), loss=self.loss, teacher=self.captured.module)

    def points(self, scores: Scores, analysis: Analysis, position: tuple[int, int]) -> list[Point]:
        whole, analysis = scores.trained or (self.captured, analysis)
        found = []
        for number, fraction in enumerate(self.config.fractions):
            point = self._point(scores.by_group, whole, analysis, fraction)
            if point is not None:
                found.append(point)
            if self.config.progress is not None:
                done, total = position[0] + number + 1, position[1]
                self.config.progress("curve", done, total, point.figures if point else {})
        return found

    def _point(
        self,
        by_group: Mapping[str, torch.Tensor],
        whole: Captured,
        analysis: Analysis,
        fraction: float,
    ) -> Point | None:
        config = self.config
        target = Target(config.kind, fraction)
        try:
            choice = choose(
                analysis, by_group, target, ranking=config.ranking, thinning=config.thinning
            )
        except TargetError:
            return None
        small = cut(whole, analysis, choice.plan)
        prove(small, analysis, choice.plan, config.learn.seed)
        reached = _reached(config.kind, whole, small, choice.reached)
        return Point(fraction, reached, self.figures(small.module))


def _reached(kind: str, whole: Captured, small: Captured, channels: float) -> float:
    if kind == "params":
        return count_parameters(small.module) / count_parameters(whole.module)
    if kind == "macs":
        return macs_per_example(small)[0] / macs_per_example(whole)[0]
    return channels
