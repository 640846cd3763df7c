"""What decides which channels go: options of every command that cuts, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from graphprune.cli.source import seed_option, switch_epochs_option
from graphprune.errors import UsageError

if TYPE_CHECKING:
    from graphprune.compressed import CompressConfig

F = TypeVar("F", bound=Callable[..., Any])


def method_option(command: F) -> F:
    """``--method``."""
    return click.option(
        "--method",
        default="auto",
        show_default=True,
        help="How channels are ranked: dirichlet, taylor, fisher, l2 or another, with options as "
        "in dirichlet{prior=0.5}; auto: dirichlet with data, else l2. See graphprune methods.",
    )(command)


def batch_size_option(command: F) -> F:
    """``--batch-size``."""
    return click.option(
        "--batch-size",
        default=64,
        show_default=True,
        help="Examples per step; see --switch-epochs for switches.",
    )(command)


def choice_options(command: F) -> F:
    """Whose channels are compared, what may be left, how switches learn, extra passes, the seed."""
    for option in reversed([*_cutting(), *_learning(), _pass_option(), seed_option]):
        command = option(command)
    return command


def choice_config(given: Mapping[str, Any]) -> CompressConfig:
    """The part of a compression's config that these options say.

    Raises:
        UsageError: an option is refused.
    """
    from graphprune.compressed import CompressConfig
    from graphprune.importance.learn_config import LearnConfig
    from graphprune.passes.base import make_pass

    if given["batch_size"] < 1:
        raise UsageError(f"--batch-size is {given['batch_size']}; give at least 1")
    learn = LearnConfig(samples=given["samples"], mode=given["mode"], epochs=given["switch_epochs"])
    if given["kl_weight"] is not None:
        learn = replace(learn, kl_weight=given["kl_weight"])
    return CompressConfig(
        learn=learn,
        ranking=given.get("ranking", "local"),
        heads=given["heads"],
        round_to=given["round_to"],
        batch_size=given["batch_size"],
        passes=tuple(make_pass(text) for text in given["passes"]),
        seed=given["seed"],
    )


def chosen_method(given: Mapping[str, Any]) -> Any:
    """The method's name, or the Dirichlet switch with the options that are of it alone.

    Raises:
        UsageError: there are such options, and the method is another.
    """
    from graphprune.importance.methods import AUTO, LEARNED, make_method
    from graphprune.switches.dirichlet import Dirichlet

    own = {"variant": given["variant"], "scale": given["switch_scale"]}
    own = {field: value for field, value in own.items() if value is not None}
    if not own:
        return given["method"]
    method = make_method(LEARNED if given["method"] == AUTO else given["method"])
    if not isinstance(method, Dirichlet):
        raise UsageError(
            f"--variant and --switch-scale are for dirichlet; method {given['method']} takes its "
            "options as name{option=value}"
        )
    return replace(method, **own)


def _cutting() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--ranking",
            type=click.Choice(["local", "global", "isomorphic"]),
            default="local",
            show_default=True,
            help="local thins every group alike; global compares scores between groups; isomorphic "
            "between groups of one structure.",
        ),
        click.option(
            "--heads",
            type=click.Choice(["both", "whole", "inside", "keep"]),
            default="both",
            show_default=True,
            help="What attention heads (key-value groups, conv groups) lose: whole heads, channels "
            "inside each of them, both as importance has it, or nothing.",
        ),
        click.option(
            "--round-to",
            default="auto",
            show_default=True,
            metavar="N",
            callback=_width_step,
            help="Leave a multiple of so many channels in every group and inside every head; what "
            "has fewer stays whole. auto: 8, which suits most hardware, or fewer where that is "
            "more than an eighth of the group; 1: any width.",
        ),
    ]


def _learning() -> list[Callable[[Any], Any]]:
    return [
        click.option(
            "--variant",
            type=click.Choice(["auto", "mean", "implicit", "per-example"]),
            help="How Dirichlet switches are drawn while they are learned (default: auto).",
        ),
        click.option(
            "--samples", default=1, show_default=True, help="Draws a step (variant implicit)."
        ),
        click.option(
            "--mode",
            type=click.Choice(["joint", "sequential"]),
            default="joint",
            show_default=True,
            help="Learn all groups together, or one after the other.",
        ),
        click.option(
            "--switch-scale",
            type=click.Choice(["mean-one", "sum"]),
            help="mean-one (default) starts at the identity; sum is the paper's form.",
        ),
        switch_epochs_option,
        click.option("--kl-weight", type=float, help="Factor of the KL divergence."),
    ]


def _pass_option() -> Callable[[Any], Any]:
    return click.option(
        "--pass", "passes", multiple=True, help="Extra graph pass, by name or module:Class."
    )


def _width_step(context: click.Context, option: click.Parameter, text: str) -> int | None:
    del context, option
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--round-to {text!r}: expected auto, or a number from 1 on")
    return int(text)
