"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

_PIPE_WIDTH = 160


def output_console() -> Console:
    """Standard output: as wide as the terminal, and wide enough for paths and names elsewhere."""
    console = Console()
    return console if console.is_terminal else Console(width=_PIPE_WIDTH)
