"""Options of the command lines: what no run could use is refused there and then, in one line."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import click

from graphprune.choosing.target import Target, parse_target
from graphprune.errors import GraphpruneError, TargetError

P = ParamSpec("P")
R = TypeVar("R")


def one_line_errors(function: Callable[P, R]) -> Callable[P, R]:
    """A command that ends with one line where a file is missing or graphprune refuses something."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (GraphpruneError, FileNotFoundError) as error:
            raise click.ClickException(" ".join(str(error).split())) from error

    return run


class CutTarget(click.ParamType[str]):
    """``widths=3-10-27``, or a budget such as ``macs=0.05``.

    Attributes:
        sizes: channels of each layer of the dense model.
    """

    name = "target"

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """``value`` as it is; fails where it is no target, or the layers have no such widths."""
        kind, _, given = value.partition("=")
        if kind == "widths":
            self._check_widths(value, given.split("-"), param, ctx)
            return value
        try:
            target = parse_target(value)
        except TargetError as error:
            self.fail(f"{error}, or widths={self._most()}", param, ctx)
        if not isinstance(target, Target):
            self.fail(f"{value} has no fixed cost; give a budget or widths", param, ctx)
        return value

    def _check_widths(
        self,
        value: str,
        widths: list[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> None:
        fit = len(widths) == len(self.sizes) and all(
            width.isdecimal() and 1 <= int(width) <= size
            for width, size in zip(widths, self.sizes, strict=True)
        )
        if not fit:
            wanted = f"one number for each of {len(self.sizes)} layers, at most {self._most()}"
            self.fail(f"{value!r}: give {wanted}", param, ctx)

    def _most(self) -> str:
        return "-".join(map(str, self.sizes))
