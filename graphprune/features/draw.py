"""From a model and data to the activations of its most and its least important channels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.errors import UsageError
from graphprune.features.choose import check_amount, choose_groups, ends, rank
from graphprune.features.examples import Example, given_examples, held_out_examples
from graphprune.features.grid import check_grid
from graphprune.features.observe import Seen, observe
from graphprune.features.places import View, find_views
from graphprune.features.result import Channel, Features, GroupFeatures, ShownInput
from graphprune.graph.trees import tensor_leaves
from graphprune.graph.values import shape_of, source_line
from graphprune.importance.credibility import separated
from graphprune.importance.learn_config import LearnConfig
from graphprune.importance.methods import Method, resolve_method
from graphprune.importance.scoring import Scores, ranking_batches, score_channels
from graphprune.io import Loss
from graphprune.numbers_given import check_counts
from graphprune.partial.asked import whole_graph_for
from graphprune.preconditions import check_values
from graphprune.progress import Progress
from graphprune.training.feed import Feed, prepared
from graphprune.training.gradients import learning


@dataclass(frozen=True)
class FeatureConfig:
    """What is shown.

    Attributes:
        channels: so many of the most and so many of the least important channels of a group.
        examples: numbers of held-out examples; empty: the first ones, of different classes.
        count: how many examples where they are not numbered.
        groups: names of channel groups; empty: some, spread over the graph.
        at: names of graph nodes to look at, see :mod:`graphprune.features.places`; where no groups
            are named, those that lie there are shown.
        max_groups: how many groups where none are named.
        token_grid: (extra, height, width): rows of extra + height * width positions, such as the
            tokens of an image, are drawn as a grid, without the first ``extra`` ones.
        batch_size: examples per batch where channels are ranked.
        source: what the model is called on the page; "": its class.
        learn: how switches are learned; its seed is that of everything random.
        progress: called as ``progress(stage, done, total, figures)``.
    """

    channels: int = 4
    examples: tuple[int, ...] = ()
    count: int = 2
    groups: tuple[str, ...] = ()
    at: tuple[str, ...] = ()
    max_groups: int = 12
    token_grid: tuple[int, int, int] | None = None
    batch_size: int = 64
    source: str = ""
    learn: LearnConfig = field(default_factory=LearnConfig)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        check_counts(self, "channels", "count", "max_groups", "batch_size")
        if self.token_grid is not None and (self.token_grid[0] < 0 or min(self.token_grid[1:]) < 1):
            raise UsageError("a token grid is EXTRA+HEIGHTxWIDTH, such as 1+14x14")


@learning()
def draw_features(  # noqa: PLR0913
    model: nn.Module | torch.export.ExportedProgram,
    example_inputs: Any,
    data: Any = None,
    *,
    method: str | Method = "auto",
    loss: Loss | None = None,
    inputs: Any = None,
    config: FeatureConfig | None = None,
) -> Features:
    """Show what the most and the least important channels of a model respond to.

    After figures 1 and 4 of the Dirichlet Pruning paper, for any channel group of any captured
    model. The channels are found in the activations by the labels of the analysis.

    Args:
        model: as :func:`graphprune.compress` takes it; it is not changed.
        example_inputs: likewise.
        data: likewise; None: the examples shown are ``inputs``, or else the example inputs.
        method: what ranks the channels.
        loss: ``loss(output, target)``, see :func:`graphprune.compress`.
        inputs: a batch to be shown instead of held-out data, in the form of the example inputs.
        config: see :class:`FeatureConfig`.

    Raises:
        ModelError: the model cannot be captured whole, or no channel can go.
        DataError: the data or inputs do not fit the model.
        UsageError: a group, a node or an example does not exist, too much is asked for, or the
            token grid fits nothing that would be shown.
    """
    config = config or FeatureConfig()
    chosen, note = resolve_method(method, data is not None)
    with whole_graph_for("a page of features"):
        captured = capture(model, example_inputs)
    check_values(captured.module)
    analysis = analyse(captured.module)
    views = choose_groups(analysis, config.groups, config.at, config.max_groups)
    feed = prepared(data, captured, config.batch_size, loss) if data is not None else None
    examples = _examples(captured, feed, inputs, config)
    check_amount(views.values(), config.channels, len(examples))
    if config.token_grid is not None:
        check_grid(config.token_grid, captured, examples[0], views)
    scores = score_channels(
        captured,
        analysis,
        chosen,
        ranking_batches(feed, chosen, config.learn) if feed is not None else None,
        learn=config.learn,
        loss=loss,
        progress=config.progress,
    )
    notes = [*([note] if note else []), *scores.notes]
    asked = config.count if not config.examples else 0
    if len(examples) < asked and asked > FeatureConfig.count:  # who asks for none gets a few
        notes.append(f"asked for {asked} examples, found {len(examples)}")
    if feed is None and inputs is None:
        notes.append("no data given: the inputs are the example inputs of the model")
    if scores.trained is not None:
        captured, analysis = scores.trained
        trained_views = find_views(analysis, config.at)
        views = {name: trained_views[name] for name in views}
        notes.append("the weights were trained along with the switches: this is the trained model")
    orders = {name: rank(scores.by_group[name], view) for name, view in views.items()}
    picked = {
        name: [*itertools.chain(*ends(order, config.channels))] for name, order in orders.items()
    }
    seen = observe(captured, examples, views, picked, config.progress)
    groups = [
        _group_features(name, view, orders[name], scores, seen, config.channels)
        for name, view in views.items()
    ]
    return Features(
        source=config.source or type(model).__name__,
        method=scores.method,
        inputs=tuple(_shown_input(example) for example in examples),
        groups=tuple(groups),
        found=len(analysis.groups),
        token_grid=config.token_grid,
        notes=tuple(notes),
        certainty=scores.certainty,
    )


def _examples(
    captured: Captured, feed: Feed | None, inputs: Any, config: FeatureConfig
) -> list[Example]:
    if inputs is not None:
        return given_examples(captured, inputs, config.count)
    if feed is not None:
        return held_out_examples(captured, feed, config.examples, config.count)
    if config.examples:
        raise UsageError("held-out examples are numbered, but there are no data; give --data")
    return given_examples(captured, (captured.args, captured.kwargs), config.count)


def _group_features(
    name: str, view: View, order: list[int], scores: Scores, seen: Sequence[Seen], channels: int
) -> GroupFeatures:
    importance = scores.by_group[name]
    intervals = scores.intervals.get(name)
    most, least = ends(order, channels)

    def shown(number: int) -> Channel:
        bounds = None
        if intervals is not None and number < intervals.shape[1]:
            bounds = float(intervals[0, number]), float(intervals[1, number])
        activations = tuple(one[name, number] for one in seen)
        return Channel(
            number, order.index(number) + 1, float(importance[number]), bounds, activations
        )

    picked = [*most, *least]
    apart = None
    if intervals is not None and max(picked) < intervals.shape[1]:
        apart = separated(intervals[:, picked], np.arange(len(picked)) < len(most))
    return GroupFeatures(
        name=name,
        size=importance.numel(),
        node=view.node.name,
        op=str(view.node.target),
        source=source_line(view.node),
        shape=shape_of(view.node),
        scaled=view.scaled,
        others=view.others,
        readers=tuple(dict.fromkeys(place.node for place in view.read)),
        here=len(order),
        most=tuple(map(shown, most)),
        least=tuple(map(shown, least)),
        importance=importance.double().cpu().numpy(),
        intervals=intervals.double().cpu().numpy() if intervals is not None else None,
        separated=apart,
    )


def _shown_input(example: Example) -> ShownInput:
    leaves = tensor_leaves(example.inputs)
    first = leaves[0].detach().cpu() if leaves else torch.zeros(0)
    values = first[0] if first.ndim else first
    if values.is_complex():
        values = values.abs()
    if values.is_floating_point():
        values = values.float()
    return ShownInput(example.name, example.label, values.numpy(), len(leaves))
