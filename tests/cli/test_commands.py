"""The commands that only show something: inspect, passes, methods, --version, --help."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import ClassVar

import pytest
from click.testing import Result

from graphprune.registry import CRITERIA, SWITCHES, Entry, Registry

Run = Callable[..., Result]


def test_version(run: Run) -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert version("graphprune") in result.stdout


@pytest.mark.parametrize(
    "command", ["", "compress", "export", "inspect", "verify", "passes", "methods"]
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_has_examples(command: str, flag: str, run: Run) -> None:
    result = run(*command.split(), flag)
    assert result.exit_code == 0
    assert f"  graphprune {command}".rstrip() in result.stdout
    assert "Usage:" in result.stdout


def test_no_command_shows_help(run: Run) -> None:
    result = run()
    assert "Usage:" in result.output


def test_help_names_every_command(run: Run) -> None:
    text = run("--help").stdout
    for command in ("compress", "export", "inspect", "verify", "passes", "methods"):
        assert f"\n  {command} " in text


def test_passes_lists_the_built_in_ones(run: Run) -> None:
    result = run("passes")
    assert result.exit_code == 0
    for name in ("insert-switches", "normalise", "set-mode", "shrink"):
        assert name in result.stdout
    assert "graphprune.passes.insert_switches:InsertSwitches" in result.stdout


def test_methods_lists_what_ranks_channels_and_what_needs_data(run: Run) -> None:
    result = run("methods")
    assert result.exit_code == 0
    lines = {line.split()[0]: line.split() for line in result.stdout.splitlines()[1:]}
    assert set(lines) >= {*SWITCHES.names(), *CRITERIA.names()}
    assert lines["dirichlet"][1] == "learns"
    assert lines["fisher"][1] == "needs"
    assert lines["l2"][1] == "graphprune"


def test_methods_names_a_broken_plug_in_and_lists_the_others(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = Entry("sad", "no_such_module_xyz:Sad", "sad-prune 0.1")
    found = Registry._found
    monkeypatch.setattr(
        Registry, "_found", lambda self: [*found(self), *([lost] if self is SWITCHES else [])]
    )
    result = run("methods")
    assert result.exit_code == 0
    names = {line.split()[0] for line in result.stdout.splitlines()[1:]}
    assert names >= {*SWITCHES.names(), *CRITERIA.names()} - {"sad"}
    last = result.stdout.splitlines()[-1]
    assert last.startswith("broken: graphprune.switches 'sad' from sad-prune 0.1")
    assert "no module named 'no_such_module_xyz'" in last


def test_methods_shows_no_signature_in_place_of_a_docstring(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True)
    class Bare:
        name: ClassVar[str] = "bare"
        batches: int = 3

    monkeypatch.setitem(CRITERIA._registered, "bare", Bare)
    result = run("methods")
    (line,) = [line for line in result.stdout.splitlines() if line.split()[0] == "bare"]
    assert "batches" not in line


def test_inspect_json(run: Run) -> None:
    result = run("inspect", "model.pt2", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    data = json.loads(result.stdout)
    assert data["params"] == 1024
    assert data["macs"] == 8 * 9 * 64 + 8 * 12 * 9 * 64 + 12 * 4
    first, second = data["groups"]
    assert (first["name"], first["channels"]) == ("conv1.weight", 8)
    members = {(m["parameter"], m["dim"]) for m in first["members"]}
    assert {("conv1.weight", 0), ("norm.running_var", 0), ("conv2.weight", 1)} <= members
    assert (second["name"], second["channels"]) == ("conv2.weight", 12)
    # All but the head's bias touches one group or the other.
    conv1 = 8 * 9 + 8 + 16 + 12 * 8 * 9
    assert first["params_share"] == pytest.approx(conv1 / 1024)
    assert {pin["parameter"] for pin in data["pinned"]} == {"head.weight", "head.bias"}
    assert all("output" in pin["reason"] for pin in data["pinned"])


def test_inspect_text(run: Run) -> None:
    result = run("inspect", "state.pt", "--model", "userland:make", "--input-shape", "2x1x8x8")
    assert result.exit_code == 0, result.output
    assert "2 channel groups, 1,024 parameters" in result.stdout
    assert "norm.weight" not in result.stdout
    members = run("inspect", "model.pt2", "--members")
    assert "norm.weight[dim 0]" in members.stdout


def test_inspect_takes_inputs_from_data(run: Run) -> None:
    result = run("inspect", "pickled.pt", "--trust-pickle", "--data", "train.npz", "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["groups"]) == 2


IN_PARTS = ("state_of_parts.pt", "--model", "userland:Choosing", "--input-shape", "2x1x8x8")


def test_inspect_shows_a_model_in_parts(run: Run) -> None:
    result = run("inspect", *IN_PARTS)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("captured in parts: ")
    assert "userland.py" in result.stdout.splitlines()[0]
    assert "\nbody\n2 channel groups, 1,024 parameters" in result.stdout
    assert "\nhead\nleft alone: no channel begins and ends within it\n" in result.stdout
    data = json.loads(run("inspect", *IN_PARTS, "--json").stdout)
    assert [len(part["groups"]) for part in data["parts"].values()] == [2]
    assert list(data["left"]) == ["head"]


@pytest.mark.parametrize("command", ["curve", "features", "search --target macs=0.5"])
def test_what_needs_the_whole_model_says_so(command: str, run: Run) -> None:
    output = [] if command == "curve" else ["-o", "unused"]
    result = run(*command.split(), *IN_PARTS, "--data", "train.npz", *output)
    assert result.exit_code == 2
    wanted = "needs the whole model as a graph, compress and inspect alone take it in parts\n"
    assert result.stderr.endswith(wanted)
    assert result.stderr.count("\n") == 1
