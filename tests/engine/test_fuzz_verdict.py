"""What ``make fuzz`` says at its end, and when it fails."""

from __future__ import annotations

import torch
from fuzz_cuts import cut_out, mutate
from fuzz_profiles import Tally
from torch import nn

from benchmarks.fuzz import ENOUGH, MISSED, verdict
from graphprune.choosing.plan import Plan


def _tally(ran: int, mutants: int, missed: int) -> Tally:
    return Tally(ran=ran, shrunk=ran, mutants=mutants, missed=["weight dim 0"] * missed)


def test_a_full_run_passes_and_says_how_many_ran() -> None:
    lines, status = verdict(_tally(1000, 900, 60), [], 1000)
    assert status == 0
    assert lines[0].startswith("1000 of 1000 networks ran: 0 failures")
    assert len(lines) == 1


def test_time_that_is_up_passes_but_is_said() -> None:
    lines, status = verdict(_tally(700, 650, 40), [], 1000)
    assert status == 0
    assert "the aim was not reached" in lines[-1]


def test_too_many_unnoticed_cuts_fail() -> None:
    most = int(MISSED * ENOUGH)
    assert verdict(_tally(ENOUGH, ENOUGH, most), [], ENOUGH)[1] == 0
    lines, status = verdict(_tally(ENOUGH, ENOUGH, most + 1), [], ENOUGH)
    assert status == 1
    assert "went unnoticed" in lines[-1]


def test_a_few_unnoticed_cuts_of_few_are_no_verdict() -> None:
    lines, status = verdict(_tally(10, 10, 5), [], 10)
    assert status == 0
    assert "too few to judge" in lines[-1]


def test_a_failure_fails() -> None:
    lines, status = verdict(_tally(700, 650, 0), ["AssertionError: differs"], 1000)
    assert status == 1
    assert lines[0] == "AssertionError: differs"


class _Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(12.0).reshape(3, 4))


def test_rows_of_their_own_are_cut_wrongly_too() -> None:
    whole, small = _Rows(), _Rows()
    kept = {0: [0, 2], 1: [[0, 1], [2, 3]]}
    right = cut_out(whole.weight.detach(), kept)
    assert right is not None
    assert right.tolist() == [[0, 1], [10, 11]]
    small.weight = nn.Parameter(right)
    plan = Plan(kept={"weight": kept}, fingerprint="", target="", method="", widths={})
    met = set()
    for seed in range(20):
        found = mutate(whole, small, plan, seed)
        assert found is not None
        assert not torch.equal(found[1].get_parameter("weight"), right)
        met.add(found[0])
    assert met == {"weight dim 1 row 0", "weight dim 1 row 1"}


def test_rows_along_several_dimensions_are_left_out() -> None:
    assert cut_out(torch.zeros(2, 2, 3), {2: [[0], [1], [0], [2]]}) is None
