"""``graphprune compress``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from graphprune.cli.choices import (
    batch_size_option,
    choice_config,
    choice_options,
    chosen_method,
    method_option,
)
from graphprune.cli.console import output_console
from graphprune.cli.progress import progress_on
from graphprune.cli.source import Source, loss_option, model_options, read_source


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
@method_option
@click.option(
    "--data", help="train.npz, a folder of class folders of images, or package.module:function."
)
@loss_option
@click.option("--finetune-epochs", default=0, show_default=True, help="Epochs of fine-tuning.")
@click.option("--lr", type=float, help="Learning rate of fine-tuning.")
@batch_size_option
@click.option(
    "--reconstruct",
    is_flag=True,
    help="Fit what is left of each layer to the original's answers on --data (no labels needed).",
)
@click.option(
    "--recalibrate", is_flag=True, help="Re-estimate batch-norm statistics of the small model."
)
@click.option("--no-distill", is_flag=True, help="Fine-tune on labels alone.")
@choice_options
@click.option(
    "--no-onnx", is_flag=True, help="Write no model.onnx: for operators that ONNX has no form of."
)
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
    method = chosen_method(given)
    return run(source.loaded.model, source.inputs, target=target, method=method, **common)


def read_request(given: dict[str, Any], onnx: bool, progress: Any) -> tuple[Source, dict[str, Any]]:
    """The model with its data, and the keyword arguments that compress and search share.

    Raises:
        UsageError: an option or a file is refused.
    """
    from graphprune.delivery.deliver import require_deliverable
    from graphprune.training.finetune import FinetuneConfig

    config = choice_config(given)
    finetune = FinetuneConfig()
    if given["lr"] is not None:
        finetune = replace(finetune, lr=given["lr"])
    source = read_source(given)
    if onnx:
        require_deliverable(source.loaded.model)  # before the long work
    config = replace(
        config,
        finetune=finetune,
        distill=not given["no_distill"],
        recalibrate=given["recalibrate"],
        reconstruct=given["reconstruct"],
        needs_onnx=onnx,
        progress=progress,
        source=source.loaded.source,
    )
    return source, {
        "data": source.data,
        "loss": given["loss"],
        "finetune_epochs": given["finetune_epochs"],
        "config": config,
    }
