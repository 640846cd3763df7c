"""Whether a token grid fits anything that a page shows, asked before channels are ranked."""

from __future__ import annotations

import math
from collections.abc import Mapping

from graphprune.capturing.capture import Captured
from graphprune.errors import UsageError
from graphprune.features.examples import Example
from graphprune.features.forms import Grid, form_of, positions_of
from graphprune.features.observe import observe
from graphprune.features.places import View
from graphprune.io.text import few

_KINDS = {
    "map": "maps of two dimensions",
    "number": "one number for each example",
    "nothing": "empty",
    "line": "rows",
    "strip": "rows",
}


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
    asked = (
        f"token grid {extra}+{height}x{width} is for rows of {positions_of(grid)} positions, but"
    )
    if not rows:
        kinds = sorted({_KINDS[form_of(one).kind] for one in shown})
        raise UsageError(
            f"{asked} the activations to be shown are {' and '.join(kinds)}, drawn as they "
            "are; leave the grid out"
        )
    fitting = [text for row in rows for text in _squares(row)]
    such = f", such as {few(fitting)}" if fitting else ""
    raise UsageError(
        f"{asked} the activations to be shown have {few(map(str, rows))}; write EXTRA+HEIGHTxWIDTH "
        f"of so many{such}, or leave the grid out"
    )


def _squares(positions: int) -> list[str]:
    """Square grids of so many positions, without or with one in front (a class token)."""
    sides = [(extra, math.isqrt(positions - extra)) for extra in (0, 1)]
    return [f"{e}+{n}x{n}" for e, n in sides if n > 1 and n * n == positions - e]
