"""Where a user's forward insists on a size: one line that names the module and the code."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import nn

from graphprune.into_sizes import Sizes
from graphprune.into_trace import Progress
from graphprune.io.text import reason
from graphprune.values import source_line

_OURS = (Path(torch.__file__).parent, Path(__file__).parent)


def explain(
    model: nn.Module, sizes: dict[str, Sizes], progress: Progress, failed: Exception
) -> str:
    """One line: which module's forward does not fit the small tensors, where, and what to do."""
    modules = dict(model.named_modules())
    path = progress.running[-1]
    line = _own_line(progress.error)
    for place in reversed(progress.running):
        rewritten = sizes[place].rewritten if place in sizes else []
        if rewritten:
            path = place
            line = line or source_line(rewritten[-1])
            break
    name = f"{path} ({type(modules[path]).__name__})" if path else type(model).__name__
    at = f" at {line}" if line else ""
    if progress.error is not None:
        what = f"its forward fixes a size{at} ({reason(progress.error)})"
    else:
        what = f"its forward gives other values than the small graph{at} ({reason(failed)})"
    return (
        f"the compression does not fit {name}: {what}; "
        "take sizes from the tensors or from attributes there, or use result.model as it is"
    )


def _own_line(error: Exception | None) -> str:
    """The innermost line of the user's own code that an error passed through."""
    if error is None:
        return ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(Path(frame.filename).is_relative_to(folder) for folder in _OURS):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return ""
