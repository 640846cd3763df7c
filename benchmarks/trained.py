"""Trained: models of the zoos through learned switches and fine-tuning, one process each.

The coverage benchmark ranks by weights alone. This one learns Dirichlet switches from a few
examples (the example inputs, repeated: what is tried is the road, not the result), cuts half of
the channels, trains the small model and proves it again. Run ``python -m benchmarks.trained``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils import _pytree as pytree

from benchmarks.conditions import RESULTS, append, set_up
from benchmarks.coverage_worker import TARGET, build
from benchmarks.zoos import ZOOS, zoo
from graphprune import CompressConfig, LearnConfig, compress
from graphprune.capturing.capture import normalise_inputs
from graphprune.errors import GraphpruneError
from graphprune.io.text import one_line

OUTPUT = RESULTS / "trained.jsonl"
TIMES = 4
"""How often the examples are repeated, to be split into batches and a held-out part."""


def data_of(inputs: Any) -> Any:
    """Data of the example inputs repeated; None where they are not all tensors with one batch."""
    args, kwargs = normalise_inputs(inputs)
    values = [*args, *kwargs.values()]
    tensors = all(isinstance(value, torch.Tensor) and value.ndim for value in values)
    if not tensors or len({len(value) for value in values}) != 1 or (args and kwargs):
        return None
    many = pytree.tree_map(lambda t: torch.cat([t] * TIMES), kwargs or args)
    return many if kwargs else (many, None)


def train(zoo_name: str, name: str) -> dict[str, Any]:
    """What became of one model."""
    try:
        model, inputs = build(zoo_name, name)
        data = data_of(inputs)
        if data is None:
            return {
                "status": "skipped",
                "error": "inputs that are no examples, one beside the other",
            }
        config = CompressConfig(learn=LearnConfig(epochs=1), batch_size=2)
        result = compress(
            model,
            inputs,
            method="dirichlet",
            target=TARGET,
            data=data,
            finetune_epochs=1,
            config=config,
        )
    except GraphpruneError as error:
        return {"status": "refused", "error": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever a model brings up is the finding
        return {"status": "crashed", "error": one_line(f"{type(error).__name__}: {error}", 300)}
    return {"status": "trained", "error_of_proof": result.certificate.shrink_error}


def _in_process(zoo_name: str, name: str, timeout: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.trained", "--zoo", zoo_name, "--one", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"status": "out of time"}
    except (IndexError, ValueError):
        return {"status": "crashed", "error": one_line(done.stderr.strip()[-300:], 300)}
    return found


@click.command()
@click.option("--zoo", "zoos", multiple=True, type=click.Choice(ZOOS), default=ZOOS)
@click.option("--only", multiple=True, help="Names or patterns such as 'resnet*'.")
@click.option("--timeout", default=200.0, show_default=True, help="Seconds for each model.")
@click.option("--one", help="Run this model here and print what came of it.")
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT)
def main(
    zoos: tuple[str, ...], only: tuple[str, ...], timeout: float, one: str | None, output: Path
) -> None:
    """Learn, cut, train and prove every model of the zoos; a stopped run goes on where it was."""
    if one is not None:
        set_up(0, 1)
        click.echo(json.dumps(train(zoos[0], one)))
        return
    lines = output.read_text().splitlines() if output.is_file() else []
    records = {(r["zoo"], r["name"]): r for r in map(json.loads, lines)}
    for zoo_name in zoos:
        for name in zoo(zoo_name).names():
            wanted = not only or any(fnmatch(name, pattern) for pattern in only)
            if (zoo_name, name) in records or not wanted:
                continue
            record = {"zoo": zoo_name, "name": name, **_in_process(zoo_name, name, timeout)}
            records[zoo_name, name] = record
            append(output, record)
            click.echo(f"{zoo_name} {name}: {record['status']} {record.get('error', '')}", err=True)
    counts = Counter((r["zoo"], r["status"]) for r in records.values())
    for (zoo_name, status), number in sorted(counts.items()):
        click.echo(f"{zoo_name}: {number} {status}")


if __name__ == "__main__":
    main()
