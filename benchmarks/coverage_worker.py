"""One model of a zoo, compressed in a process of its own; what happened goes to a file of JSON."""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from torch import nn
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree

from benchmarks.conditions import conditions, set_up
from benchmarks.coverage_gaps import HALF, Gap, gaps, short_source
from benchmarks.coverage_record import Record, judge
from benchmarks.models.randomise import randomise
from benchmarks.zoos import ZOOS, zoo
from graphprune import CompressConfig, compress
from graphprune.capturing.capture import normalise_inputs
from graphprune.capturing.carried import without_carried_state
from graphprune.compressed import Compressed
from graphprune.errors import CertificateError, GraphpruneError
from graphprune.graph.chance import same_chance
from graphprune.graph.trees import Inputs, copy_of, to_plain
from graphprune.io.text import one_line
from graphprune.partial.result import PartialCompressed
from graphprune.proof.compare import limit_for, max_relative_error
from graphprune.quiet import quiet

TARGET = "channels=0.5"
SHOWN = 8


@dataclass
class Log:
    """A record that is on disk after every step, so that a process killed half-way leaves it."""

    path: Path
    record: Record
    started: dict[str, float] = field(default_factory=dict)

    def write(self, **fields: Any) -> None:
        """Set fields and save."""
        self.record.update(fields)
        self.record["memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        self.record["status"] = judge(self.record)
        scratch = self.path.with_suffix(".part")
        scratch.write_text(json.dumps(self.record))
        scratch.replace(self.path)

    def progress(self, stage: str, done: int, total: int, figures: dict[str, float]) -> None:
        """The callback of ``CompressConfig.progress``."""
        now = time.perf_counter()
        seconds = dict(self.record.get("seconds", {}))
        if done == 0:
            self.started[stage] = now
        seconds[stage] = round(now - self.started.get(stage, now), 2)
        self.write(stage=stage, seconds=seconds)


def run(log: Log, *, quick: bool) -> None:
    """Build, compress, check, and (unless ``quick``) deliver; failures are recorded, not raised."""
    record = log.record
    try:
        log.progress("build", 0, 1, {})
        model, inputs = build(record["zoo"], record["name"])
        log.write(params_before=sum(p.numel() for p in model.parameters()))
        log.progress("build", 1, 1, {})
        config = CompressConfig(progress=log.progress)
        result = compress(model, inputs, method="l2", target=TARGET, config=config)
        log.write(stage="check")
        log.write(**describe(model, result), **check(model, inputs, result))
    except Exception as error:  # noqa: BLE001 - whatever a model brings up is the finding
        log.write(**failure(error))
        return
    if quick:
        return
    log.write(onnx="timeout")  # what stands if the process is killed from here on
    try:
        with tempfile.TemporaryDirectory() as scratch, quiet():
            folder = result.save(Path(scratch) / "out", latency=False)
            log.write(onnx="proved", **_delivered(folder))
    except Exception as error:  # noqa: BLE001 - as above
        found = failure(error)
        log.write(
            onnx=found["error_kind"], onnx_error_line=found["error"], onnx_stage=record["stage"]
        )


def build(zoo_name: str, name: str) -> tuple[nn.Module, Any]:
    """A model of a zoo with weights that hide nothing, and its example inputs."""
    torch.manual_seed(0)
    with quiet():
        model, inputs = zoo(zoo_name).build(name)
        wider = more(inputs)
        randomise(model, wider if _runs(model, wider) else inputs, level=True)
    return model, inputs


@torch.no_grad()
def _runs(model: nn.Module, inputs: tuple[tuple[Any, ...], dict[str, Any]]) -> bool:
    """Whether the model takes inputs doubled along their first dimensions."""
    try:
        args, kwargs = copy_of(inputs)
        model.eval()(*args, **kwargs)
    except Exception:  # noqa: BLE001 - whatever the model raises, it does not take them
        return False
    return True


def more(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs of twice the batch, the second half new, for statistics of more than one example."""

    def double(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.ndim == 0:
            return value
        fresh = torch.randn_like(value) if value.is_floating_point() else value
        return torch.cat([value, fresh])

    args, kwargs = normalise_inputs(inputs)
    if any(isinstance(value, list) for value in args):  # a list of images is its own batch
        return args, kwargs
    return tuple(map(double, args)), {key: double(value) for key, value in kwargs.items()}


def describe(model: nn.Module, result: Compressed | PartialCompressed) -> Record:
    """Figures of a compression of the user's ``model``, whole or in parts."""
    before = sum(p.numel() for p in model.parameters())
    after = sum(p.numel() for p in result.model.parameters())
    certificate = result.certificate
    fields: Record = {
        "params_after": after,
        "removed": 1 - after / before,
        "shrink_error": certificate.shrink_error,
        "limit": certificate.limit,
        "certified": certificate.passed,
        "gaps": [dataclasses.asdict(gap) for gap in _gaps(model, result)[:SHOWN]],
    }
    if isinstance(result, Compressed):
        plans, notes = [result.plan], result.stages.notes
        fields["captured"] = "whole"
    else:
        plans, notes = list(result.plan.values()), result.background.notes
        how = Counter(placed.how for placed in result.parts.values())
        fields["captured"] = "parts: " + ", ".join(f"{n} as {kind}" for kind, n in how.items())
        fields["captured_why"] = one_line(short_source(result.background.why), 300)
    widths = [pair for plan in plans for pair in plan.widths.values()]
    total = sum(pair[0] for pair in widths)
    return fields | {
        "channels": sum(pair[1] for pair in widths) / total if total else None,
        "notes": [short_source(note) for note in notes],
    }


def _gaps(model: nn.Module, result: Compressed | PartialCompressed) -> list[Gap]:
    if isinstance(result, Compressed):
        return gaps(result.stages.dense.module, result.model, result.stages.analysis)
    total, found = sum(p.numel() for p in model.parameters()), []
    for name, placed in result.parts.items():
        stages = placed.compressed.stages
        part = sum(p.numel() for p in stages.dense.module.parameters()) / total
        for gap in gaps(stages.dense.module, placed.compressed.model, stages.analysis):
            example = f"{name}.{gap.example}"
            found.append(dataclasses.replace(gap, share=gap.share * part, example=example))
    for name, (held, why) in result.background.left.items():
        found.append(Gap(held / total * (1 - HALF**2), short_source(why), example=name))
    return sorted(found, key=lambda gap: -gap.share)


@torch.no_grad()
def check(model: nn.Module, inputs: Any, result: Compressed | PartialCompressed) -> Record:
    """The outputs of the user's own model against those of the graph and of the small model.

    Only what differs where nothing may is ``wrong``: shapes and types of outputs, values of the
    captured graph (which draws the same random numbers), an unproved result, or an answer that is
    not a number. What is captured in parts, or has outputs of a size that its data decide on, may
    answer with another number of things found (the first dimension of its outputs).
    """
    args, kwargs = normalise_inputs(inputs)
    with quiet():
        with same_chance():
            expected = _answer(model.eval(), (args, kwargs))
        small = _answer(result.model, (args, kwargs))
        wrong = [] if result.certificate.passed else ["the certificate does not hold"]
        counted = isinstance(result, Compressed) and not _finds(result)
        before, after = (shapes(outputs, counted=counted) for outputs in (expected, small))
        if before != after:
            wrong.append(f"outputs were {before}, are {after}")
        leaves = [x for x in pytree.tree_leaves(small) if isinstance(x, torch.Tensor)]
        if not all(bool(x.isfinite().all()) for x in leaves):
            wrong.append("outputs are not finite")
        error = None
        if isinstance(result, Compressed):
            error, problem = _same_as_captured(expected, result, args, kwargs)
            wrong += [problem] if problem else []
    return {"checked": not wrong, "wrong": wrong, "capture_error": error}


def _answer(model: nn.Module, inputs: Inputs) -> Any:
    args, kwargs = copy_of(inputs)  # some forwards write into their inputs, or take lists apart
    with without_carried_state(model, args, kwargs):
        return model(*args, **kwargs)


def _finds(result: Compressed) -> bool:
    """Whether how large an output is depends on the values of the inputs."""
    outputs = result.stages.dense.module.graph.output_node().all_input_nodes
    return any(bool(free_unbacked_symbols(node.meta["val"])) for node in outputs)


def _same_as_captured(
    expected: Any, result: Compressed, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[float | None, str]:
    graph = result.stages.dense.module
    limit = limit_for(list(graph.parameters()))
    try:
        with same_chance():
            outputs = _answer(graph, (args, kwargs))
        error = max_relative_error(outputs, expected)
    except CertificateError as failed:
        return None, f"the captured graph differs: {failed}"
    return error, "" if error <= limit else f"the captured graph differs by {error:.2g}"


def shapes(outputs: Any, *, counted: bool = True) -> list[str]:
    """Names, shapes and types of the tensors in a tree; the first size only if ``counted``."""
    found, _ = pytree.tree_flatten_with_path(to_plain(outputs))
    return [
        f"{pytree.keystr(path)} {tuple(leaf.shape[0 if counted else 1 :])} {leaf.dtype}".strip()
        for path, leaf in found
        if isinstance(leaf, torch.Tensor)
    ]


def _delivered(folder: Path) -> Record:
    """The largest errors of the files; what was compressed in parts has a report for each."""
    reports = [json.loads(path.read_text()) for path in sorted(folder.rglob("report.json"))]
    proofs = [report["certificate"] for report in reports]
    whole = json.loads((folder / "report.json").read_text())
    reload_errors = [p["reload_error"] for p in proofs if p["reload_error"] is not None]
    return {
        "onnx_error": max((e for p in proofs for e in p["onnx_error"].values()), default=None),
        "reload_error": max(reload_errors, default=None),
        "macs_share": whole["reached"].get("macs"),
    }


def failure(error: BaseException) -> Record:
    """An exception as fields of a record: its kind, its text on a line, and where it arose."""
    frames = traceback.extract_tb((error.__cause__ or error).__traceback__)
    own = [f for f in frames if "graphprune" in f.filename or "/passes/" in f.filename]
    last = (own or list(frames))[-1:]
    return {
        "error_kind": type(error).__name__,
        "error": one_line(short_source(str(error)), 400),
        "expected": isinstance(error, GraphpruneError),
        "error_at": _below_root(f"{last[0].filename}:{last[0].lineno}") if last else "",
    }


def _below_root(place: str) -> str:
    """A file and line with the path of this checkout cut off."""
    return short_source(place.removeprefix(f"{Path(__file__).resolve().parents[1]}/"))


@click.command()
@click.argument("zoo_name", metavar="ZOO", type=click.Choice(ZOOS))
@click.argument("name")
@click.option("--record", "path", type=click.Path(path_type=Path), required=True)
@click.option("--quick", is_flag=True, help="Without delivery: no ONNX file, no reload.")
@click.option("--memory", default=20.0, show_default=True, help="Limit of address space, in GB.")
def main(zoo_name: str, name: str, path: Path, quick: bool, memory: float) -> None:
    """Compress model NAME of ZOO and write the record to --record."""
    limit = int(memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    set_up(0, 1)
    log = Log(path, {"zoo": zoo_name, "name": name, "quick": quick, **conditions(0)})
    run(log, quick=quick)
    click.echo(log.record["status"])
    sys.exit(0)


if __name__ == "__main__":
    main()
