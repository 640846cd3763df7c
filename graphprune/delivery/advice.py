"""What the measured latencies advise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from graphprune.choosing.plan import Plan
from graphprune.exporters.report import Measured

_HANDY = 8
_WORTH_MS = 2.0  # below it calls cost more than what they compute
_SLOWER = 1.15  # than its MACs promise; timings are not exact


def width_advice(rows: Mapping[str, Measured], plan: Plan) -> Iterator[str]:
    """A line for the user where the file is slower than its MACs promise, and widths may be why.

    Args:
        rows: the models of the report, by name; ``dense onnx`` and ``onnx`` are looked at.
        plan: of the small model.
    """
    before, after = rows.get("dense onnx"), rows.get("onnx")
    if before is None or after is None or not (before.macs and after.macs):
        return
    if before.latency_ms is None or after.latency_ms is None:
        return
    macs, taken = after.macs / before.macs, after.latency_ms / before.latency_ms
    uneven = any(_HANDY <= kept < all_ and kept % _HANDY for all_, kept in plan.widths.values())
    if uneven and before.latency_ms >= _WORTH_MS and taken > macs * _SLOWER:
        yield (
            f"model.onnx takes {taken:.0%} of the dense file's time at {macs:.0%} of its MACs; "
            f"--round-to {_HANDY} leaves widths that hardware likes better"
        )
