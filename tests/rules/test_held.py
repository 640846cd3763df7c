"""What is left alone is shown call by call, with the line of the model that is to blame."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from custom_ops import Network, inputs

import graphprune
from graphprune.analysis.held import held_back, short_source
from graphprune.cli import cli
from graphprune.errors import TargetError, UsageError
from graphprune.rules import plugins
from graphprune.rules.rule import RULES

mine = torch.ops.graphprune_tests
RULE_MODULE = """
import custom_ops
import graphprune

graphprune.axes_rule(custom_ops.attend, "b c! t -> b c! t")
"""


def network() -> torch.nn.Module:
    return Network(lambda x, extra: mine.attend(x) * extra[:, None])


class Whole(torch.nn.Module):
    """Nothing but a softmax over the channels between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Conv1d(3, 8, 1), torch.nn.Conv1d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(mine.attend(self.first(x)))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line in a folder with a model and a module of rules."""
    for name, model in (("model", network()), ("whole", Whole())):
        program = torch.export.export(model.eval(), (inputs(),))
        torch.export.save(program, tmp_path / f"{name}.pt2")
    (tmp_path / "my_rules.py").write_text(RULE_MODULE)
    (tmp_path / "broken_rules.py").write_text("import no_such_module")
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    return call


def test_held_back_names_call_line_and_numbers() -> None:
    analysis = graphprune.analyse(graphprune.capture(network(), inputs()).module)
    held = held_back(analysis)
    assert [one.params for one in held] == sorted((one.params for one in held), reverse=True)
    (attend,) = [one for one in held if one.op == "graphprune_tests.attend.default"]
    assert attend is held[0]
    assert attend.node == "attend"
    assert "no rule for graphprune_tests.attend.default" in attend.reason
    assert "with dimension 1 of relu shortened, it gives other values" in attend.reason
    assert attend.source.endswith("x = self.op(torch.relu(self.before(x)), self.extra)")
    assert "custom_ops.py:" in attend.source
    assert ", in forward" not in attend.source
    # Both the layer before and the layer after: what the operator returns is held by it as well.
    assert {"before.weight[0]", "before.bias[0]", "after.weight[1]"} <= set(attend.dims)
    assert attend.channels == 8 + 8  # what goes in, and what comes out
    assert attend.params == 8 * 3 * 3 + 8 + 8 + 6 * 8 * 3
    outputs = [one for one in held if one.reason == "output of the model"]
    assert [(one.op, one.channels, one.params) for one in outputs] == [("", 4, 4 * 6 + 4)]


@pytest.mark.parametrize(
    ("source", "short"),
    [
        ("/far/model.py:23, in forward: y = f(x)", "/far/model.py:23: y = f(x)"),
        ("/far/model.py:23, in forward", "/far/model.py:23"),
        ("", ""),
        ("y = f(x)", "y = f(x)"),
    ],
)
def test_source_is_short(source: str, short: str) -> None:
    assert short_source(source) == short


def test_source_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_source(f"{tmp_path}/a/m.py:7, in forward: f(x)") == str(Path("a/m.py:7: f(x)"))


def test_inspect_prints_what_is_held(run: Callable[..., Result]) -> None:
    text = run("inspect", "model.pt2").stdout
    flat = " ".join(text.split())
    assert "232 parameters, 16 channels: graphprune_tests.attend.default (attend)" in flat
    assert "custom_ops.py:" in flat
    assert "x = self.op(torch.relu(self.before(x)), self.extra)" in flat
    assert "before.weight[0]" not in flat
    assert "before.weight[0]" in run("inspect", "model.pt2", "--members").stdout
    data: dict[str, Any] = json.loads(run("inspect", "model.pt2", "--json").stdout)
    assert data["held"][0]["op"] == "graphprune_tests.attend.default"
    assert data["held"][0]["params"] == 232


def test_rules_option(run: Callable[..., Result]) -> None:
    with_rule = run("inspect", "model.pt2", "--rules", "my_rules", "--json")
    assert mine.attend.default in RULES
    held = json.loads(with_rule.stdout)["held"]
    assert any("attend needs the whole dimension" in one["reason"] for one in held)
    assert not any("no rule" in one["reason"] for one in held)


@pytest.mark.parametrize("module", ["no_such_module", "broken_rules", "not a module"])
def test_rules_that_cannot_be_imported(run: Callable[..., Result], module: str) -> None:
    result = run("inspect", "model.pt2", "--rules", module)
    assert result.exit_code == UsageError.exit_code
    assert result.stderr.startswith("error: --rules ")
    assert result.stderr.count("\n") == 1


def test_report_carries_what_is_held() -> None:
    report = graphprune.compress(network(), inputs(), method="l2").report
    (pin,) = [p for p in report.pinned if (p.parameter, p.dim) == ("before.weight", 0)]
    assert "no rule for graphprune_tests.attend.default" in pin.reason
    assert "custom_ops.py:" in pin.source
    assert pin.op == "graphprune_tests.attend.default"
    assert pin.params == 232
    held = [p.params for p in report.pinned]
    assert held == sorted(held, reverse=True)


def test_a_model_of_which_nothing_can_go_is_an_error(run: Callable[..., Result]) -> None:
    with pytest.raises(TargetError, match="no channels can be removed"):
        graphprune.compress(Whole(), inputs(), method="l2")
    result = run("compress", "whole.pt2", "-o", "out", "--no-onnx")
    assert result.exit_code == TargetError.exit_code
    assert "graphprune inspect" in result.stderr
    assert result.stderr.startswith("error: no channels can be removed from this model")
    assert not Path("out").exists()


def test_rules_of_a_package_are_imported_when_an_operator_of_its_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed package, as far as importlib.metadata can tell."""
    (tmp_path / "their_rules.py").write_text(RULE_MODULE + "\n\ndef rules(): raise SystemExit\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[graphprune.rules]\ngraphprune_tests = their_rules:rules\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plugins.load_rules.cache_clear()
    try:
        assert mine.attend.default not in RULES
        analysis = graphprune.analyse(graphprune.capture(network(), inputs()).module)
    finally:
        plugins.load_rules.cache_clear()
    assert any("attend needs the whole dimension" in one.reason for one in held_back(analysis))
