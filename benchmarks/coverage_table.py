"""``docs/coverage.md`` from the records: counts, the table, and why the rest stayed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from benchmarks.conditions import markdown_table
from benchmarks.coverage_record import ENOUGH, PLENTY, STATUSES, Record, judge

STRICT = "of all, 40 %"
INTRODUCTION = """# Coverage

Written by `python -m benchmarks.coverage --table` from `benchmarks/results/coverage.jsonl`; do not
edit it by hand.

Every model went through `compress(model, inputs, method="l2", target="channels=0.5")` in a process
of its own, on one core, with no option for any of them: the member with the fewest parameters of
each of timm's model modules (without those that timm keeps for its own tests, `test_…`), other
members of timm whose blocks differ from it (`variants`), every torchvision model up to 100 million
parameters that is not quantised, small random configurations of transformers' model types, with
their task heads (`transformers`) or, for further types, with a linear layer upon their hidden
states (`types`); members of the families of 62 other libraries (`libraries`); and, from
outside of these, the small networks of `benchmarks/zoos/wild/`, written as people write PyTorch.
The weights are random and hide nothing (no zeros, no constants, batch norms calibrated, outputs
that vary with the input).

- **pruned**: proved equal to the masked original, all outputs of unchanged shape and type, and at
  least 40 % removed of the parameters that the interface leaves to remove: where hidden states are
  outputs of the model, or rows of tables are tokens, what these hold (by the explanations below) is
  first taken off the parameters. *of all, 40 %* counts those that lost 40 % of all parameters, with
  no such allowance; *below it* in the tables marks the others.
- **left**: as above, with less removed, or nothing that may be; the reasons are below.
- **refused**: ended in a one-line error, with no model delivered. **timeout**, **crashed**: no
  answer in the time given, or an error that is not one of the program's own.
- **wrong**: a model came out that is not what it should be. Besides the certificate, each graph is
  compared with the user's model that it was captured from.

*removed* is the share of the parameters; *error* the certificate's largest relative error (limit
1e-4); *ONNX* the largest relative error of onnxruntime against PyTorch, or what became of the
export; *to shrunk* the seconds from the model to the proved small one; *memory* the peak of the
process with everything that it imported.
"""


def page(records: list[Record]) -> str:
    """The page, in Markdown."""
    # Judged anew, so that all are judged alike, whatever held when they ran.
    records = [record | {"status": judge(record)} for record in records]
    records = sorted(records, key=lambda record: (record["zoo"], record["name"]))
    parts = [INTRODUCTION, "## Counts\n\n" + counts(records)]
    for zoo in sorted({str(record["zoo"]) for record in records}):
        parts.append(f"## {zoo}\n\n" + table(r for r in records if r["zoo"] == zoo))
    parts.append("## Why less than 60 % was removed\n\n" + explanations(records))
    parts.append("## What was left alone or refused\n\n" + refusals(records))
    return "\n".join(parts)


def counts(records: Iterable[Record]) -> str:
    """Models by zoo and status."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        for zoo in (record["zoo"], "all"):
            found[zoo][record["status"]] += 1
            found[zoo]["models"] += 1
            found[zoo][STRICT] += record["status"] == "pruned" and not _below(record)
            found[zoo]["ONNX proved"] += record.get("onnx") == "proved"
    columns = ("models", *STATUSES, STRICT, "ONNX proved")
    rows = [
        (zoo, *(found[zoo][c] for c in columns))
        for zoo in sorted(found, key=lambda zoo: (zoo == "all", zoo))
    ]
    return markdown_table(("zoo", *columns), rows)


def _below(record: Record) -> bool:
    """Whether less than 40 % of all parameters went."""
    return float(record["removed"]) < ENOUGH


def table(records: Iterable[Record]) -> str:
    """One line for each model."""
    heads = ("model", "status", "captured", "parameters", "removed", "error", "ONNX", "to shrunk",
             "memory")  # fmt: skip
    return markdown_table(heads, [_row(record) for record in records])


def _row(record: Record) -> tuple[str, ...]:
    seconds = record.get("seconds", {})
    pruned = record["status"] == "pruned"
    shrunk = sum(value for stage, value in seconds.items() if stage in TO_SHRUNK)
    return (
        str(record["name"]),
        f"{record['status']}{', below it' if pruned and _below(record) else ''}",
        str(record.get("captured", "")),
        f"{record['params_before'] / 1e6:.2f} M" if "params_before" in record else "",
        _share(record.get("removed")),
        _error(record.get("shrink_error")),
        _error(record.get("onnx_error")) or str(record.get("onnx", "")),
        f"{shrunk:.1f} s" if record.get("removed") is not None else "",
        f"{record['memory_mb'] / 1024:.1f} GB" if "memory_mb" in record else "",
    )


NOTHING = (
    "- nothing holds as much as 1 %: many of its parameters have one dimension of channels, or none"
)
TO_SHRUNK = (
    *("capture", "analyse", "score", "plan", "shrink", "certify"),
    *("run", "find parts", "shrink and certify parts", "certify whole"),
)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.0e}"


def explanations(records: Iterable[Record]) -> str:
    """For each model that lost less than 60 %, what holds how much of its parameters."""
    parts = [
        "Halving every dimension that holds channels would remove about 75 %. Each line is the "
        "share of the model's parameters kept beyond the ideal, by reason. (The ideal itself is "
        "lower than 75 % where parameters have one dimension of channels, or none.)\n"
    ]
    for record in records:
        removed = record.get("removed")
        if removed is None or removed >= PLENTY:
            continue
        parts.append(f"**{record['zoo']} {record['name']}**, {removed:.1%} removed\n")
        lines = [_gap(gap) for gap in record.get("gaps", ()) if gap["share"] >= 0.01]
        parts.append("\n".join(lines or [NOTHING]) + "\n")
    return "\n".join(parts)


def _gap(gap: Record) -> str:
    where = f"`{gap['op']}`" if gap["op"] else ""
    line = f" at `{gap['source']}`" if gap["source"] else ""
    place = f" ({where}{line})" if where or line else ""
    return f"- {gap['share']:.1%}: {gap['reason']}{place}, for example `{gap['example']}`"


def refusals(records: Iterable[Record]) -> str:
    """Each model without a result, with its stage and its error."""
    lines = [
        f"- **{r['zoo']} {r['name']}**: {r['status']} at {r.get('stage', 'start')}: "
        f"{r.get('error') or '; '.join(r.get('wrong') or ())}"
        for r in records
        if r.get("removed") is None or r["status"] == "wrong"
    ]
    failed = [
        f"- {r['zoo']} {r['name']}: {r['onnx']} at {r.get('onnx_stage', 'export')}: "
        f"{r.get('onnx_error_line', '')}"
        for r in records
        if r.get("onnx") not in (None, "proved")
    ]
    delivered = ["", "Pruned, but not delivered:", "", *failed] if failed else []
    return "\n".join([*(lines or ["Nothing."]), *delivered]) + "\n"
