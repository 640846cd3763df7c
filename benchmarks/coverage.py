"""Coverage: every model of the zoos through ``compress``, one process each, no flag for any.

Run ``python -m benchmarks.coverage --zoo timm``; a run that was stopped goes on where it was. Then
``--table`` writes ``docs/coverage.md`` from the latest line of each model.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import click

from benchmarks.conditions import RESULTS, append
from benchmarks.coverage_record import Record, is_complete, judge, latest
from benchmarks.coverage_table import page
from benchmarks.zoos import ZOOS, libraries_zoo, zoo

OUTPUT = RESULTS / "coverage.jsonl"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "coverage.md"


@dataclass(frozen=True)
class Options:
    """How models are run: time limit in seconds, and whether delivery is left out."""

    timeout: float
    quick: bool


def run_model(zoo_name: str, name: str, options: Options) -> Record:
    """The record of one model, from a process that is killed when its time is up."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "record.json"
        command = [sys.executable, "-m", "benchmarks.coverage_worker", zoo_name, name]
        command += ["--record", str(path), *(["--quick"] if options.quick else [])]
        started = time.perf_counter()
        with subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            cwd=Path(__file__).resolve().parents[1],
        ) as process:
            try:
                _, trouble = process.communicate(timeout=options.timeout)
                killed = False
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its own session, so all it started
                _, trouble = process.communicate()
                killed = True
        record: Record = json.loads(path.read_text()) if path.is_file() else {}
    record |= {"zoo": zoo_name, "name": name, "total_seconds": time.perf_counter() - started}
    return closed(record, killed=killed, code=process.returncode, trouble=trouble)


def closed(record: Record, *, killed: bool, code: int, trouble: str) -> Record:
    """A record with how its process ended, where that is news, and its status."""
    record = dict(record)
    if "error_kind" not in record and record.get("removed") is None:
        stage = record.get("stage", "start")
        if killed:
            record |= {"error_kind": "timeout", "error": f"not done with {stage} in time"}
        elif code:
            last = (trouble.strip().splitlines() or [f"exit status {code}"])[-1]
            record |= {"error_kind": "exit", "error": f"{stage}: {last[:300]}"}
    return record | {"status": judge(record)}


def _line(record: Record, position: str) -> str:
    removed = record.get("removed")
    share = f" {removed:.0%} removed" if removed is not None else ""
    trouble = record.get("error") or "; ".join(record.get("wrong") or ()) or ""
    stage = f" at {record.get('stage')}" if trouble else ""
    onnx = record.get("onnx", "")
    tail = f"{stage} {trouble[:150]}" if trouble else f" onnx {onnx}" if onnx else ""
    seconds = record.get("total_seconds", 0.0)
    return (
        f"{position} {record['zoo']} {record['name']}: {record['status']}{share}"
        f" {seconds:.0f} s{tail}"
    )


@click.command()
@click.option("--zoo", "zoos", multiple=True, type=click.Choice(ZOOS), default=ZOOS)
@click.option("--only", multiple=True, help="Names or patterns such as 'resnet*'.")
@click.option("--jobs", default=1, show_default=True, help="Processes at a time.")
@click.option("--timeout", default=600.0, show_default=True, help="Seconds for each model.")
@click.option("--quick", is_flag=True, help="Without delivery: no ONNX file, no reload.")
@click.option("--again", is_flag=True, help="Run also what is in the results.")
@click.option("--retry", is_flag=True, help="Run again what was not pruned.")
@click.option("--table", is_flag=True, help="Write docs/coverage.md from the results, run nothing.")
@click.option("--output", type=click.Path(path_type=Path), default=OUTPUT)
def main(  # noqa: PLR0913 - one argument for each option of the command line
    zoos: tuple[str, ...],
    only: tuple[str, ...],
    jobs: int,
    timeout: float,
    quick: bool,
    again: bool,
    retry: bool,
    table: bool,
    output: Path,
) -> None:
    """Compress every model of the zoos to half of its channels and record what came of it."""
    if table:
        PAGE.write_text(page(list(latest(output).values())))
        click.echo(PAGE)
        return
    if "libraries" in zoos:
        for library, reason in libraries_zoo.missing().items():
            click.echo(f"left out, not installed: {library} ({reason})", err=True)
    done = {} if again else latest(output)
    if retry:
        done = {key: record for key, record in done.items() if record["status"] == "pruned"}
    work = [
        (zoo_name, name)
        for zoo_name in zoos
        for name in zoo(zoo_name).names()
        if not only or any(fnmatch(name, pattern) for pattern in only)
    ]
    work = [key for key in work if key not in done or not is_complete(done[key], quick=quick)]
    options = Options(timeout, quick)
    with ThreadPoolExecutor(jobs) as pool:
        for number, record in enumerate(
            pool.map(lambda key: run_model(key[0], key[1], options), work), start=1
        ):
            append(output, record)
            click.echo(_line(record, f"[{number}/{len(work)}]"), err=True)


if __name__ == "__main__":
    main()
