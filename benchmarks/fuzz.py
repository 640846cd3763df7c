"""Thousands of random networks, each shrunk and compared with its masked reference.

``make fuzz`` runs it. Two processes draw examples of their own until they have done their share or
the time is up; the first failure of a process is made as small as it gets, printed, and kept in
.hypothesis for the next run. The examples are those of tests/engine/test_properties.py. It exits
with 1 if a network fails or if too many cuts made wrong on purpose go unnoticed, and with 0 if
merely the time is up, which it says.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

import click
import torch
from fuzz_profiles import Tally, run_examples

_REPORT_SECONDS = 60.0

MISSED = 0.1
"""Largest share of wrong cuts that may go unnoticed; about 6 % rightly do (dead units behind a
relu, a bias before a norm that subtracts the mean)."""

ENOUGH = 500
"""Wrong cuts from which on that share is more than chance."""

_NAMED = 20


def run_share(seed: int, examples: int, seconds: float) -> tuple[Tally, str]:
    """Run examples in this process; returns the count and the first failure, or ""."""
    torch.set_num_threads(1)
    tally = Tally()
    start = said = time.monotonic()

    def go_on() -> bool:
        nonlocal said
        now = time.monotonic()
        if now - said > _REPORT_SECONDS:
            said = now
            print(f"seed {seed}: {tally.ran} networks in {now - start:.0f} s", flush=True)
        return now - start < seconds

    try:
        run_examples("fuzz", seed, tally, go_on, examples)
    except Exception as error:  # noqa: BLE001 - whatever an example raises is what is looked for
        return tally, "".join(traceback.format_exception_only(error))
    return tally, ""


def verdict(total: Tally, failures: Sequence[str], asked: int) -> tuple[list[str], int]:
    """What to say of a run, and its exit status.

    Args:
        total: of all processes.
        failures: what went wrong, a text each.
        asked: how many networks were to run.
    """
    missed = len(total.missed)
    lines = [
        *failures,
        f"{total.ran} of {asked} networks ran: {len(failures)} failures, {total.shrunk} shrunk; "
        f"{total.mutants - missed} of {total.mutants} wrong cuts noticed "
        f"({total.in_rows} of these cuts were made in one row alone)",
    ]
    blind = total.mutants >= ENOUGH and missed > MISSED * total.mutants
    if blind:
        lines += [f"not noticed: {missing}" for missing in total.missed[:_NAMED]]
        lines.append(f"more than {MISSED:.0%} of the wrong cuts went unnoticed")
    if total.mutants < ENOUGH:
        lines.append(f"fewer than {ENOUGH} wrong cuts: too few to judge how many are noticed")
    if total.ran < asked and not failures:
        lines.append(f"the time was up before {asked} networks: the aim was not reached")
    return lines, 1 if failures or blind else 0


@click.command()
@click.option("--examples", default=5000, show_default=True, help="Networks, all processes.")
@click.option("--minutes", default=40.0, show_default=True, help="Time after which to stop.")
@click.option("--jobs", default=2, show_default=True, help="Processes.")
@click.option("--seed", default=None, type=int, help="Of the first process; default: the clock.")
def main(examples: int, minutes: float, jobs: int, seed: int | None) -> None:
    """Shrink random networks and compare each with its masked reference."""
    first = int(time.time()) % 1_000_000 if seed is None else seed
    click.echo(f"{examples} networks, {jobs} processes, {minutes:g} minutes, seed {first}")
    total, failures = Tally(), []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        share = -(-examples // jobs)
        started = [pool.submit(run_share, first + n, share, 60 * minutes) for n in range(jobs)]
        for future in as_completed(started):
            try:
                tally, failure = future.result()
            except BrokenProcessPool as broken:  # torch itself has crashed
                failures.append(f"a process has died: {broken}")
                continue
            total.include(tally)
            failures += [failure] if failure else []
    lines, status = verdict(total, failures, examples)
    click.echo("\n".join(lines))
    sys.exit(status)


if __name__ == "__main__":
    main()
