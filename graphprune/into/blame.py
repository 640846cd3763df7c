"""Where a user's forward insists on a size: one line that names the module and the code."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import fx, nn

from graphprune.graph.values import source_line
from graphprune.into.sizes import Sizes
from graphprune.into.trace import Progress
from graphprune.io.text import reason

_OURS = (Path(torch.__file__).parent, Path(__file__).parent.parent)


def explain(
    model: nn.Module,
    sizes: dict[str, Sizes],
    progress: Progress,
    failed: Exception,
    *,
    heads: bool = False,
) -> str:
    """One line: which module's forward does not fit the small tensors, where, and what to do.

    With ``heads``, whether there are attention heads or the like, it says that they can stay whole.
    """
    modules = dict(model.named_modules())
    path, line = _place(sizes, progress)
    name = f"{path} ({type(modules[path]).__name__})" if path else type(model).__name__
    at = f" at {line}" if line else ""
    if progress.error is not None:
        what = f"its forward fixes a size{at} ({reason(progress.error)})"
    else:
        what = f"its forward gives other values than the small graph{at} ({reason(failed)})"
    whole = (
        " compress with --heads whole (heads='whole') if it wants its heads of one size, to "
        "channels=0.5 or the like if they have to be as wide together as its input,"
    )
    return (
        f"the compression does not fit {name}: {what}; take sizes from the tensors or from "
        f"attributes there,{whole if heads else ''} or use result.model as it is"
    )


def _place(sizes: dict[str, Sizes], progress: Progress) -> tuple[str, str]:
    """The module to name and its line: where it raised, or passed a size on to what did."""
    innermost = progress.running[-1]
    raised = _own_line(progress.error)
    for path in reversed(progress.running):
        rewritten = sizes[path].rewritten if path in sizes else []
        if path == innermost and raised and rewritten:
            return path, raised
        if rewritten:
            below = progress.running[progress.running.index(path) + 1 :]
            earlier = [n for n in rewritten if not below or _precedes(n, sizes, below[0])]
            return path, source_line((earlier or rewritten)[-1])
    return innermost, raised


def _precedes(node: fx.Node, sizes: dict[str, Sizes], path: str) -> bool:
    """Whether a node comes before all that the module of this name, or one below it, runs."""
    inside = [s.first for name, s in sizes.items() if name == path or name.startswith(f"{path}.")]
    return all(node < first for first in inside if first is not None)


def _own_line(error: Exception | None) -> str:
    """The innermost line of the user's own code that an error passed through."""
    if error is None:
        return ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(Path(frame.filename).is_relative_to(folder) for folder in _OURS):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return ""
