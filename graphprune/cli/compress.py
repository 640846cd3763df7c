"""``graphprune compress``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from graphprune.cli.console import output_console
from graphprune.cli.progress import progress_on
from graphprune.cli.source import (
    Source,
    loss_option,
    model_options,
    read_source,
    seed_option,
    switch_epochs_option,
)
from graphprune.errors import UsageError


def _width_step(context: click.Context, option: click.Parameter, text: str) -> int | None:
    del context, option
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--round-to {text!r}: expected auto, or a number from 1 on")
    return int(text)


@click.command()
@model_options
@click.option("-o", "--output", required=True, help="Folder to write; must not exist or be empty.")
@click.option(
    "--target",
    default="channels=0.5",
    show_default=True,
    help="What stays: channels=, params= or macs= a fraction (0.5 or 50%); auto, or "
    "auto{confidence=0.95,share=0.5}: all but what has, with that confidence, less than that part "
    "of an equal share of its group, as switches learned it from data.",
)
@click.option(
    "--method",
    default="auto",
    show_default=True,
    help="How channels are ranked: dirichlet, taylor, fisher, l2 or another, with options as in "
    "dirichlet{prior=0.5}; auto: dirichlet with data, else l2. See graphprune methods.",
)
@click.option(
    "--data", help="train.npz, a folder of class folders of images, or package.module:function."
)
@loss_option
@click.option("--finetune-epochs", default=0, show_default=True, help="Epochs of fine-tuning.")
@click.option("--lr", type=float, help="Learning rate of fine-tuning.")
@click.option(
    "--batch-size",
    default=64,
    show_default=True,
    help="Examples per training step; see --switch-epochs for switches.",
)
@click.option(
    "--reconstruct",
    is_flag=True,
    help="Fit what is left of each layer to the original's answers on --data (no labels needed).",
)
@click.option(
    "--recalibrate", is_flag=True, help="Re-estimate batch-norm statistics of the small model."
)
@click.option("--no-distill", is_flag=True, help="Fine-tune on labels alone.")
@click.option(
    "--ranking",
    type=click.Choice(["local", "global", "isomorphic"]),
    default="local",
    show_default=True,
    help="local thins every group alike; global compares scores between groups; isomorphic between "
    "groups of one structure.",
)
@click.option(
    "--heads",
    type=click.Choice(["both", "whole", "inside", "keep"]),
    default="both",
    show_default=True,
    help="What attention heads (key-value groups, conv groups) lose: whole heads, channels inside "
    "each of them, both as importance has it, or nothing.",
)
@click.option(
    "--round-to",
    default="auto",
    show_default=True,
    metavar="N",
    callback=_width_step,
    help="Leave a multiple of so many channels in every group and inside every head; what has "
    "fewer stays whole. auto: 8, which suits most hardware, or fewer where that is more than an "
    "eighth of the group; 1: any width.",
)
@click.option(
    "--variant",
    type=click.Choice(["auto", "mean", "implicit", "per-example"]),
    help="How Dirichlet switches are drawn while they are learned (default: auto).",
)
@click.option("--samples", default=1, show_default=True, help="Draws a step (variant implicit).")
@click.option(
    "--mode",
    type=click.Choice(["joint", "sequential"]),
    default="joint",
    show_default=True,
    help="Learn all groups together, or one after the other.",
)
@click.option(
    "--switch-scale",
    type=click.Choice(["mean-one", "sum"]),
    help="mean-one (default) starts at the identity; sum is the paper's form.",
)
@switch_epochs_option
@click.option("--kl-weight", type=float, help="Factor of the KL divergence.")
@click.option(
    "--no-onnx", is_flag=True, help="Write no model.onnx: for operators that ONNX has no form of."
)
@click.option("--pass", "passes", multiple=True, help="Extra graph pass, by name or module:Class.")
@seed_option
@click.option("--no-latency", is_flag=True, help="Do not time the dense and the small model.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier result in the folder.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
def compress(
    output: str, quiet: bool, overwrite: bool, no_onnx: bool, no_latency: bool, **options: Any
) -> None:
    """Compress MODEL and write model.onnx, model.pt2, plan.json and report.json.

    MODEL is a .pt2 (torch.export), a pickled nn.Module (.pt, with --trust-pickle), or a state
    dict or .safetensors file together with --model package.module:factory.

    A model that torch.export cannot capture whole (its control flow depends on the data) is
    compressed in parts: OUTPUT then holds parts/NAME/ with these files for each captured
    submodule, model.safetensors with the weights of the whole, and report.json.

    \b
    Examples:
      graphprune compress model.pt2 -o out/
      graphprune compress model.pt2 --data train.npz --target macs=0.5 --finetune-epochs 3 -o out/
      graphprune compress model.pt2 --data train.npz --target auto -o out/
      graphprune compress weights.safetensors --model mynet:make --input-shape 1x3x32x32 -o out/
    """
    place = Output(Path(output), overwrite, not no_onnx, not no_latency, quiet)
    deliver_to(place, lambda progress: _run(progress, onnx=not no_onnx, **options))


@dataclass(frozen=True)
class Output:
    """Where a result goes, and what is made of it; as the options say."""

    folder: Path
    overwrite: bool
    onnx: bool
    latency: bool
    quiet: bool


def deliver_to(place: Output, work: Callable[[Any], Any]) -> None:
    """Do the work, given a progress callback or None, save what comes of it, show its report.

    Raises:
        UsageError: the folder is in use, which is found before the work.
    """
    from graphprune.exporters.output_folder import check_output

    folder = place.folder
    check_output(folder, overwrite=place.overwrite)
    console = Console(stderr=True)
    with progress_on(console, quiet=place.quiet) as progress:
        result = work(progress)
        result.save(folder, overwrite=place.overwrite, onnx=place.onnx, latency=place.latency)
    if not place.quiet:
        from graphprune.partial.report import read_report

        read_report(folder / "report.json").render(output_console())


def _run(progress: Any, onnx: bool, **given: Any) -> Any:
    from graphprune.choosing.target import parse_target
    from graphprune.compress import compress as run

    target = parse_target(given["target"])
    source, common = read_request(given, onnx, progress)
    return run(source.loaded.model, source.inputs, target=target, method=_method(given), **common)


def read_request(given: dict[str, Any], onnx: bool, progress: Any) -> tuple[Source, dict[str, Any]]:
    """The model with its data, and the keyword arguments that compress and search share.

    Raises:
        UsageError: an option or a file is refused.
    """
    from graphprune.compressed import CompressConfig
    from graphprune.delivery.deliver import require_deliverable
    from graphprune.errors import UsageError
    from graphprune.importance.learn import LearnConfig
    from graphprune.passes.base import make_pass
    from graphprune.training.finetune import FinetuneConfig

    if given["batch_size"] < 1:
        raise UsageError(f"--batch-size is {given['batch_size']}; give at least 1")
    passes = tuple(make_pass(text) for text in given["passes"])
    learn = LearnConfig(samples=given["samples"], mode=given["mode"], epochs=given["switch_epochs"])
    if given["kl_weight"] is not None:
        learn = replace(learn, kl_weight=given["kl_weight"])
    finetune = FinetuneConfig()
    if given["lr"] is not None:
        finetune = replace(finetune, lr=given["lr"])
    source = read_source(given)
    if onnx:
        require_deliverable(source.loaded.model)  # before the long work
    config = CompressConfig(
        learn=learn,
        finetune=finetune,
        distill=not given["no_distill"],
        recalibrate=given["recalibrate"],
        reconstruct=given["reconstruct"],
        ranking=given.get("ranking", "local"),
        heads=given["heads"],
        round_to=given["round_to"],
        batch_size=given["batch_size"],
        needs_onnx=onnx,
        passes=passes,
        seed=given["seed"],
        progress=progress,
        source=source.loaded.source,
    )
    return source, {
        "data": source.data,
        "loss": given["loss"],
        "finetune_epochs": given["finetune_epochs"],
        "config": config,
    }


def _method(given: dict[str, Any]) -> Any:
    """The method's name, or the Dirichlet switch with the options that are of it alone."""
    from graphprune.errors import UsageError
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
