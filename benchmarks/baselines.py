"""Dense baselines: LeNet-5 trained on MNIST, others trained or fine-tuned on JPEG CIFAR-10.

Run ``python -m benchmarks.baselines lenet5`` (or another name) once; the weights and the
measured errors are kept in the cache folder, where the other benchmarks find them.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.conditions import conditions, set_up
from benchmarks.data import Augment, Images, cache_dir, cifar10, data_file, mnist
from benchmarks.models.lenet import LeNet5
from benchmarks.models.resnet_cifar import resnet20, resnet56
from benchmarks.models.vgg import Vgg16Bn
from benchmarks.models.wide_resnet import WideResNet
from benchmarks.options import one_line_errors
from benchmarks.training import Recipe, compiled, error_percent, train


@dataclass(frozen=True)
class Baseline:
    """How a dense model comes about: class, data, recipe and, if any, the pretrained weights."""

    build: Callable[[], nn.Module]
    images: Callable[[], tuple[Images, Images]]
    recipe: Recipe
    pretrained: str | None = None


CIFAR_AUGMENT = Augment(shift=4, flip=True)
BASELINES = {
    "lenet5": Baseline(LeNet5, mnist, Recipe(8, 0.05, 0.2, 64, 5e-4, 0.0, Augment(shift=2))),
    "resnet20": Baseline(
        resnet20,
        cifar10,
        Recipe(3, 0.02, augment=CIFAR_AUGMENT),
        "resnet20_cifar10.safetensors",
    ),
    "resnet56": Baseline(
        resnet56,
        cifar10,
        Recipe(2, 0.02, augment=CIFAR_AUGMENT),
        "resnet56_cifar10.safetensors",
    ),
    "vgg16": Baseline(Vgg16Bn, cifar10, Recipe(60, 0.1, augment=CIFAR_AUGMENT)),
    "wrn28_10": Baseline(WideResNet, cifar10, Recipe(40, 0.1, augment=CIFAR_AUGMENT)),
    # Reduced for a CPU: a quarter of VGG-16's channels; one narrow block of each stage of a WRN.
    "vgg16_quarter": Baseline(
        functools.partial(Vgg16Bn, share=0.25), cifar10, Recipe(3, 0.08, augment=CIFAR_AUGMENT)
    ),
    "wrn10_1": Baseline(
        functools.partial(WideResNet, depth=10, width=1),
        cifar10,
        Recipe(2, 0.1, augment=CIFAR_AUGMENT),
    ),
}


def dense(name: str) -> nn.Module:
    """The trained dense model ``name`` in eval mode, from the cache.

    Raises FileNotFoundError, naming the command to run, where it has not been trained yet.
    """
    path = cache_dir() / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run python -m benchmarks.baselines {name}")
    model = BASELINES[name].build()
    model.load_state_dict(load_file(path))
    return model.eval()


def state_digest(model: nn.Module) -> str:
    """A short hash of a model's state: names, shapes, types and values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def _load_pretrained(model: nn.Module, file: str) -> None:
    loaded = model.load_state_dict(load_file(data_file(file)), strict=False)
    # The counters of batches seen are not in the file and not needed.
    missing = [key for key in loaded.missing_keys if not key.endswith("num_batches_tracked")]
    if missing or loaded.unexpected_keys:
        raise KeyError(f"{file}: missing {missing}, unexpected {loaded.unexpected_keys}")


@click.command()
@click.argument("name", type=click.Choice(sorted(BASELINES)))
@click.option("--epochs", type=click.IntRange(1), help="Training epochs; default: the recipe's.")
@click.option("--train-images", type=click.IntRange(1), help="Use only the first so many images.")
@click.option("--test-images", type=click.IntRange(1), help="Test on only the first so many.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--compile", "compiling", is_flag=True, help="Train with torch.compile.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Weights in safetensors form, their record beside as .json; default: NAME in the cache, "
    "where the other benchmarks look.",
)
@one_line_errors
def main(name: str, seed: int, threads: int, compiling: bool, **options: Any) -> None:
    """Train the dense baseline NAME, on a GPU where there is one, and keep it in the cache folder.

    Example: python -m benchmarks.baselines resnet56 --epochs 1 --train-images 10000
    """
    set_up(seed, threads)
    output = options["output"] or cache_dir() / f"{name}.safetensors"
    output.parent.mkdir(parents=True, exist_ok=True)
    baseline = BASELINES[name]
    recipe = dataclasses.replace(
        baseline.recipe, epochs=options["epochs"] or baseline.recipe.epochs
    )
    train_set, test_set = baseline.images()
    train_set = train_set.subset(slice(options["train_images"]))
    test_set = test_set.subset(slice(options["test_images"]))
    model = baseline.build()
    record: dict[str, object] = {"model": name, **conditions(seed)}
    if baseline.pretrained:
        _load_pretrained(model, baseline.pretrained)
        record["error_before"] = error_percent(model, test_set)
        click.echo(f"test error of the pretrained weights: {record['error_before']:.2f} %")
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with compiled(model, compiling):
        seconds = train(model, train_set, recipe, seed=seed, log=click.echo)
    error = error_percent(model, test_set)
    record |= {
        "error": error,
        "seconds": round(seconds, 1),
        "train_images": len(train_set),
        "test_images": len(test_set),
        "recipe": dataclasses.asdict(recipe),
    }
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, output)
    output.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    click.echo(f"test error {error:.2f} % after {seconds:.0f} s")


if __name__ == "__main__":
    main()
