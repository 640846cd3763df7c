"""The full certificate on every model of the zoo: shrunk, ONNX and reloaded, half the channels."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from benchmarks.conditions import RESULTS, append, conditions, markdown_table, set_up
from benchmarks.models import NAMES, build
from graphprune import compress
from graphprune.exporters.report import Report


def row(name: str, target: str) -> dict[str, object]:
    """Compress one model without data, deliver it, and read its report."""
    model, inputs = build(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = compress(model, inputs, target=target).save(Path(scratch) / "out")
        report = Report.load(folder / "report.json")
    certificate = report.certificate
    assert certificate is not None
    times = {kind: measured.latency_ms or 0.0 for kind, measured in report.models.items()}
    return {
        "model": name,
        "target": target,
        **{kind: round(share, 4) for kind, share in report.reached.items()},
        "groups": len(report.groups),
        "shrink_error": certificate.shrink_error,
        "onnx_error": max(certificate.onnx_error.values()),
        "reload_error": certificate.reload_error,
        "onnx_speedup": round(times["dense onnx"] / times["onnx"], 2),
        "seconds_to_shrunk": round(
            sum(report.seconds[s] for s in ("capture", "analyse", "score", "plan", "shrink")), 1
        ),
        "seconds": round(sum(report.seconds.values()), 1),
    }


def table(records: list[dict[str, object]]) -> str:
    """Markdown."""
    heads = ("model", "groups", "params", "MACs", "shrunk", "ONNX", "reloaded", "ONNX faster")
    rows = [
        (
            r["model"],
            r["groups"],
            f"{r['params']:.1%}",
            f"{r['macs']:.1%}",
            f"{r['shrink_error']:.1e}",
            f"{r['onnx_error']:.1e}",
            f"{r['reload_error']:.1e}",
            f"{r['onnx_speedup']}x",
        )
        for r in records
    ]
    return markdown_table(heads, rows)


@click.command()
@click.option("--model", "names", multiple=True, type=click.Choice(NAMES), default=NAMES)
@click.option("--target", default="channels=0.5", show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(names: tuple[str, ...], target: str, threads: int) -> None:
    """Print the table; every row is also appended to benchmarks/results/certificates.jsonl."""
    set_up(0, threads)
    records = []
    for name in names:
        records.append(row(name, target))
        append(RESULTS / "certificates.jsonl", {**records[-1], **conditions(0)})
        click.echo(str(records[-1]), err=True)
    click.echo(table(records))


if __name__ == "__main__":
    main()
