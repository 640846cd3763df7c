"""A click group whose every failure is one line and a non-zero exit status."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from graphprune.errors import GraphpruneError
from graphprune.io.text import one_line

INTERRUPTED = 130
INTERNAL = 70


class OneLineErrors(click.Group):
    """Prints ``error: …`` on stderr for whatever goes wrong; ``--debug`` adds the traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; ends the process unless ``standalone_mode`` is False."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        given = list(sys.argv[1:] if args is None else args)
        try:
            result = super().main(given, prog_name, complete_var, False, **extra)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last resort
            if "--debug" in given:
                traceback.print_exception(error)
            message, status = describe(error)
            click.echo(f"error: {message}", err=True)
            sys.exit(status)
        sys.exit(result if isinstance(result, int) else 0)


def describe(error: BaseException) -> tuple[str, int]:
    """One line for the user and the exit status."""
    if isinstance(error, GraphpruneError):
        return one_line(str(error)), error.exit_code
    if isinstance(error, click.ClickException):
        return one_line(error.format_message()), error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted; nothing was written", INTERRUPTED
    if isinstance(error, MemoryError):
        return "out of memory; try a smaller --batch-size or a machine with more memory", INTERNAL
    kind = type(error).__name__
    return (
        f"unexpected {kind}: {one_line(str(error))}; run again with --debug and report it",
        INTERNAL,
    )
