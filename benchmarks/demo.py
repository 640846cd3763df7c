"""The main job on real data: train LeNet-5 briefly, compress it with the command line, verify it.

``make demo`` runs this. Every command is printed before it is run, so that it can be typed again.
The data are MNIST where GRAPHPRUNE_DATA (default ``../shared/data``) holds it, else the digits
that come with scikit-learn, enlarged to MNIST's 28x28 pixels.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
# Run as a script, Python looks for modules beside this file, not at the top of the project.
sys.path.insert(0, str(ROOT))

from benchmarks.data import data_dir  # noqa: E402
from benchmarks.models.lenet import LeNet5  # noqa: E402

FOLDER = Path("demo-out")
# On tensors this small a second thread gains little, and on a busy machine it loses much.
THREADS = 1
# Parts of MNIST: all of it only takes longer.
TRAIN_IMAGES, TEST_IMAGES = 6_000, 2_000
Arrays = dict[str, np.ndarray]


def digits(bundled: bool) -> tuple[str, Arrays]:
    """What the data are, and x_train, y_train, x_test, y_test: uint8 (N, 28, 28) and (N,)."""
    mnist = data_dir() / "mnist.npz"
    if not bundled and mnist.is_file():
        with np.load(mnist) as arrays:
            found = dict(arrays)
        sizes = {"train": TRAIN_IMAGES, "test": TEST_IMAGES}
        part = {
            f"{kind}_{split}": found[f"{kind}_{split}"][:size]
            for split, size in sizes.items()
            for kind in "xy"
        }
        return "MNIST, a part of it", part
    return "the digits bundled with scikit-learn, enlarged to 28x28", _bundled_digits()


def _bundled_digits() -> Arrays:
    """All 1,797 digits; every fifth is for testing."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    small = torch.from_numpy(bundle.images).float()[:, None] / 16
    large = nn.functional.interpolate(small, size=(28, 28), mode="bilinear")
    pixels = (large[:, 0] * 255).round().to(torch.uint8).numpy()
    labels = bundle.target.astype(np.int64)
    test = np.arange(len(labels)) % 5 == 0
    return {
        "x_train": pixels[~test],
        "y_train": labels[~test],
        "x_test": pixels[test],
        "y_test": labels[test],
    }


def train(
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    seed: int = 0,
    kind: Callable[[], nn.Module] = LeNet5,
) -> nn.Module:
    """A network trained for ``steps`` batches of 64 random images on [0, 1]; in evaluation mode."""
    torch.manual_seed(seed)
    model = kind()
    x, y = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=0.05, total_steps=steps)
    for _ in range(steps):
        picked = torch.randint(len(x), (64,))
        loss = nn.functional.cross_entropy(model(x[picked, None] / 255), y[picked])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def save(model: nn.Module, path: Path) -> None:
    """Export ``model`` with a batch of any size to a ``.pt2`` file."""
    batch = torch.export.Dim.DYNAMIC
    example = (torch.rand(2, 1, 28, 28),)
    program = torch.export.export(model, example, dynamic_shapes=({0: batch},), strict=False)
    torch.export.save(program, path)


def graphprune(*arguments: str) -> None:
    """Print and run one command of graphprune; end with its status if it fails."""
    click.secho(f"\n$ graphprune {' '.join(arguments)}", bold=True)
    program = Path(sys.executable).with_name("graphprune")
    environment = {"OMP_NUM_THREADS": str(THREADS), **os.environ}
    status = subprocess.run([str(program), *arguments], env=environment, check=False).returncode
    if status:
        raise SystemExit(status)


@click.command()
@click.option("--bundled", is_flag=True, help="Use scikit-learn's digits even where MNIST is.")
@click.option("--steps", default=300, show_default=True, help="Training steps of the dense model.")
@click.option("--finetune-epochs", default=2, show_default=True)
def main(bundled: bool, steps: int, finetune_epochs: int) -> None:
    """Train LeNet-5, compress it to a fifth of its MACs, verify the result."""
    started = time.perf_counter()
    os.chdir(ROOT)
    torch.set_num_threads(THREADS)
    FOLDER.mkdir(exist_ok=True)
    model_file, data_file, small = FOLDER / "model.pt2", FOLDER / "digits.npz", FOLDER / "small"
    source, arrays = digits(bundled)
    np.savez_compressed(data_file, **arrays)  # type: ignore[arg-type]
    click.echo(
        f"Data: {source}; {len(arrays['y_train']):,} images to train on, "
        f"{len(arrays['y_test']):,} to test on."
    )
    click.echo(f"Training LeNet-5 for {steps} steps, as the model that you would bring along ...")
    save(train(arrays["x_train"], arrays["y_train"], steps), model_file)
    click.echo(f"Saved {model_file} (torch.export) and {data_file}.")
    graphprune("inspect", str(model_file))
    graphprune(
        *("compress", str(model_file), "--data", str(data_file), "--target", "macs=0.2"),
        *("--finetune-epochs", str(finetune_epochs), "-o", str(small), "--overwrite"),
    )
    graphprune("verify", str(small))
    click.echo(
        f"\nDone in {time.perf_counter() - started:.0f} s. In Python: "
        f'model = graphprune.load("{small}")'
    )


if __name__ == "__main__":
    main()
