"""The model, its inputs and its data, as the command line names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from graphprune.errors import ModelError
from graphprune.graph.trees import tensor_leaves
from graphprune.io import DataBundle, DataOptions, LoadedModel, load_data, load_model
from graphprune.io.inputs import parse_input_shapes

F = TypeVar("F", bound=Callable[..., Any])

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """What the user gave: a loaded model, inputs that should run it, and perhaps data."""

    loaded: LoadedModel
    inputs: Inputs
    data: DataBundle | None


def model_options(command: F) -> F:
    """The argument and options that say which model and which inputs."""
    options = [
        click.argument("model"),
        click.option(
            "--model",
            "factory",
            metavar="PACKAGE.MODULE:FACTORY",
            help="Makes the module that a state dict or .safetensors file is loaded into.",
        ),
        click.option(
            "--trust-pickle",
            is_flag=True,
            help="Allow unpickling MODEL, which runs whatever code the file carries.",
        ),
        click.option(
            "--input-shape",
            "shapes",
            multiple=True,
            metavar="SHAPE[:DTYPE]",
            help="Example input, batch first, such as 1x3x224x224 or 1x77:int64,0..30522; "
            "repeat for several inputs.",
        ),
        rules_option,
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def switch_epochs_option(command: F) -> F:
    """``--switch-epochs``; left out, there are as many passes as reach a number of steps."""
    return click.option(
        "--switch-epochs",
        type=int,
        help="Passes over the data that switches learn from. Default: one; with little data, so "
        "many, and in batches so small (down to 16), that there are 300 steps.",
    )(command)


def loss_option(command: F) -> F:
    """``--loss``, loaded: a function, or None where it is left out."""
    return click.option(
        "--loss",
        metavar="PACKAGE.MODULE:FN",
        callback=_load_loss,
        help="Called as fn(output, target); gives a scalar. Without labels the target is the "
        "original's output.",
    )(command)


def _load_loss(context: click.Context, option: click.Parameter, spec: str | None) -> Any:
    from graphprune.io import load_loss

    del context, option
    return load_loss(spec) if spec else None


def seed_option(command: F) -> F:
    """``--seed``."""
    return click.option(
        "--seed",
        default=0,
        show_default=True,
        callback=_checked_seed,
        help="Seed of everything random.",
    )(command)


def _checked_seed(context: click.Context, option: click.Parameter, seed: int) -> int:
    from graphprune.seeds import check_seed

    del context, option
    check_seed(seed, "--seed")
    return seed


def rules_option(command: F) -> F:
    """``--rules``, which imports modules of the user's before anything is read."""
    return click.option(
        "--rules",
        multiple=True,
        metavar="PACKAGE.MODULE",
        expose_value=False,
        callback=_import_rules,
        help="Module with operators of your own and rules for them, imported first.",
    )(command)


def _import_rules(
    context: click.Context, option: click.Parameter, modules: tuple[str, ...]
) -> None:
    from graphprune.rules.plugins import import_rules

    del context, option
    for module in modules:
        import_rules(module)


def read_source(given: Mapping[str, Any]) -> Source:
    """Load what the options of a command name: ``model_options`` and, where it has one, --data.

    Inputs are taken from --input-shape, else from the program itself, else from the data, else
    from the model's metadata, whose sizes are arbitrary (dummy inputs may be of five tokens).

    Raises:
        UsageError: anything is missing, damaged, unsafe or does not fit.
    """
    loaded = load_model(
        given["model"], factory=given["factory"], trust_pickle=given["trust_pickle"]
    )
    inputs: Inputs | None = None
    if given["shapes"]:
        inputs = tuple(parse_input_shapes(given["shapes"])), {}
    elif loaded.example_inputs is not None:
        inputs = loaded.example_inputs
    suggested = loaded.suggested_inputs() if inputs is None else inputs
    data = given["data"]
    bundle = load_data(data, _data_options(loaded, suggested)) if data is not None else None
    if inputs is None and bundle is not None:
        inputs = _of_data(bundle, suggested)
    inputs = inputs or suggested
    if inputs is None:
        raise ModelError(
            f"{loaded.source}: no example inputs are known for this model; "
            "give --input-shape, for example --input-shape 1x3x224x224, or --data"
        )
    return Source(loaded, inputs, bundle)


def _of_data(bundle: DataBundle, suggested: Inputs | None) -> Inputs:
    """The first two examples, by the name that the model has for its only input."""
    example, _ = bundle.example_batch(2)
    if isinstance(example, dict):
        return (), example
    names = list(suggested[1]) if suggested is not None and not suggested[0] else []
    if len(names) == len(example) == 1:
        return (), {names[0]: example[0]}
    return example, {}


def _data_options(loaded: LoadedModel, inputs: Inputs | None) -> DataOptions:
    mean, std = loaded.metadata.get("mean"), loaded.metadata.get("std")
    first = inputs[0][0] if inputs is not None and inputs[0] else None
    typed = next(iter(tensor_leaves(inputs)), None)  # by name as well, where sizes are arbitrary
    return DataOptions(
        input_shape=tuple(first.shape[1:]) if first is not None else None,
        input_dtype=typed.dtype if typed is not None else None,
        mean=tuple(mean) if mean is not None and std is not None else None,
        std=tuple(std) if mean is not None and std is not None else None,
    )
