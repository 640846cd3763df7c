"""Whether a token grid fits anything that a page shows, asked before channels are ranked."""

from __future__ import annotations

from collections.abc import Mapping

from graphprune.capturing.capture import Captured
from graphprune.errors import UsageError
from graphprune.features.examples import Example
from graphprune.features.forms import Grid, form_of, positions_of
from graphprune.features.observe import observe
from graphprune.features.places import View
from graphprune.io.text import few


def check_grid(grid: Grid, captured: Captured, example: Example, views: Mapping[str, View]) -> None:
    """Run the model on one example and look at one channel of each group.

    Args:
        grid: (extra, height, width), see :class:`graphprune.features.FeatureConfig`.
        captured: the model.
        example: to run it on.
        views: places that are to be shown, by group name.

    Raises:
        UsageError: no activation has as many positions in a row as the grid.
    """
    one_each = {name: [int(view.channels[0])] for name, view in views.items()}
    (seen,) = observe(captured, [example], views, one_each)
    shown = seen.values()
    if any(form_of(one, grid).words != form_of(one).words for one in shown):
        return
    extra, height, width = grid
    rows = sorted({one.values.shape[-1] for one in shown if one.values.ndim == 1})
    have = f"have {few(map(str, rows))}" if rows else "are no rows"
    raise UsageError(
        f"token grid {extra}+{height}x{width} is for rows of {positions_of(grid)} positions, but "
        f"the activations to be shown {have}; write EXTRA+HEIGHTxWIDTH, or leave the grid out"
    )
