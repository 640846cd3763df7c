"""A click group whose every failure is one line and a non-zero exit status."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import click

from graphprune.errors import GraphpruneError
from graphprune.io.text import one_line

INTERRUPTED = 130
TERMINATED = 143
INTERNAL = 70
# Long enough for any message of ours; it only keeps back a flood.
_LONGEST = 2000


class Interrupted(BaseException):
    """Ctrl-C, hidden from click, which would print an empty line of its own."""


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


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
            with _termination_raises():
                result = super().main(given, prog_name, complete_var, False, **extra)
        except (Exception, Interrupted, Terminated) as error:  # noqa: BLE001 - the last resort
            if "--debug" in given:
                traceback.print_exception(error)
            message, status = describe(error)
            if isinstance(error, Interrupted) and sys.stderr.isatty():
                click.echo(err=True)  # the terminal has just shown ^C
            click.echo(f"error: {message}", err=True)
            sys.exit(status)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the user named."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


def describe(error: BaseException) -> tuple[str, int]:
    """One line for the user and the exit status."""
    if isinstance(error, GraphpruneError):
        return one_line(str(error), _LONGEST), error.exit_code
    if isinstance(error, click.ClickException):
        return one_line(error.format_message(), _LONGEST), error.exit_code
    if isinstance(error, Interrupted | click.Abort):
        return "interrupted; no unfinished output is left", INTERRUPTED
    if isinstance(error, Terminated):
        return "terminated; no unfinished output is left", TERMINATED
    if isinstance(error, MemoryError):
        return "out of memory; try a smaller --batch-size or a machine with more memory", INTERNAL
    kind = type(error).__name__
    return (
        f"unexpected {kind}: {one_line(str(error))}; run again with --debug and report it",
        INTERNAL,
    )


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
