"""Rules of a user's own for operators of a user's own, through the whole of compress."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import custom_ops as ops
import pytest
import torch
from custom_ops import Network, inputs
from torch import Tensor, nn

import graphprune
from graphprune import OpCall
from graphprune.errors import CertificateError, UsageError

mine = torch.ops.graphprune_tests
Widths = dict[str, tuple[int, int]]


def compress(model: torch.nn.Module) -> graphprune.Compressed:
    result = graphprune.compress(model, inputs(), method="random", target="channels=0.5")
    assert result.certificate.passed
    assert result.certificate.shrink_error is not None
    assert result.model(inputs()).shape == model(inputs()).shape
    return result


def halved(model: torch.nn.Module, *groups: str) -> graphprune.Compressed:
    """Compress, and see that just these groups, besides the last layer's, lost half."""
    result = compress(model)
    widths = {name: (before, after) for name, (before, after) in result.plan.widths.items()}
    assert widths.pop("after.weight") == (6, 3)
    assert widths == dict.fromkeys(groups, (8, 4))
    return result


def by_halves(x: Tensor, extra: Tensor) -> Tensor:
    first, second = mine.halves(x, 4)
    return torch.cat([second, first * extra[0]], 1)


def pointwise_by_call(call: OpCall) -> Any:
    return call.pointwise()


def scale_by_primitives(call: OpCall) -> Any:
    scale = tuple(slot.reshape(1, -1, 1) for slot in call.labels("scale"))
    operands = [(call.labels("x"), call.shape("x")), (scale, (1, *call.shape("scale"), 1))]
    return call.context.join(operands, "scaled")


def test_without_a_rule_of_any_kind_the_channels_would_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise nothing below would show that the rules are what lets the channels go."""
    monkeypatch.setattr(
        "graphprune.labels.propagate.label_probed", lambda *_: "no probe", raising=True
    )
    for op, extra in ((mine.scale_channels, (8,)), (mine.mix, (8, 8)), (by_halves, (1,))):
        halved(Network(op, extra))


@pytest.mark.parametrize(
    "register",
    [
        lambda: graphprune.pointwise_rule(mine.soft_clip.default),
        lambda: graphprune.pointwise_rule(mine.soft_clip),
        lambda: graphprune.pointwise_rule(ops.soft_clip),
        lambda: graphprune.op_rule(ops.soft_clip)(pointwise_by_call),
        lambda: graphprune.axes_rule(ops.soft_clip, "b c t, b c t -> b c t"),
    ],
)
def test_pointwise(register: Callable[[], None]) -> None:
    register()
    halved(Network(lambda x, extra: mine.soft_clip(x, x * extra[:, None])), "before.weight")


@pytest.mark.parametrize(
    "register",
    [
        lambda: graphprune.axes_rule(ops.scale_channels, "b c t, c -> b c t"),
        lambda: graphprune.op_rule(ops.scale_channels)(lambda call: call.axes("b c t, c -> b c t")),
        lambda: graphprune.op_rule(ops.scale_channels)(scale_by_primitives),
    ],
)
def test_scale_of_channels(register: Callable[[], None]) -> None:
    register()
    result = halved(Network(mine.scale_channels), "before.weight")
    assert result.plan.kept["extra"][0] == result.plan.kept["before.weight"][0]


def test_channel_mixing_brings_channels_forth() -> None:
    graphprune.axes_rule(ops.mix, "b c t, o c -> b o t")
    result = halved(Network(mine.mix, (8, 8)), "before.weight", "extra")
    assert result.plan.kept["extra"][1] == result.plan.kept["before.weight"][0]
    assert result.plan.kept["extra"][0] == result.plan.kept["after.weight"][1]


def test_two_outputs_with_a_size_to_rewrite() -> None:
    def resize(shapes: Any) -> dict[str, int]:
        # Each half goes with the other, so both keep as many.
        return {"first": shapes["x"][1][1] // 2}

    @graphprune.op_rule(ops.halves, rewrite=resize)
    def halves(call: OpCall) -> Any:
        first, second = call.move("x")
        call.context.unite(first[0], second[0], "two halves")
        return [first, second]

    result = compress(Network(by_halves, (1,)))
    assert result.plan.widths["before.weight"] == (4, 2)  # of pairs
    kept = result.plan.kept["before.weight"][0]
    assert [k + 4 for k in kept[:2]] == kept[2:]  # type: ignore[operator]
    (call,) = [n for n in result.model.graph.nodes if n.target is mine.halves.default]  # type: ignore[union-attr]
    assert call.args[1] == 2


def test_movement_in_one_line() -> None:
    graphprune.movement_rule(ops.halves, "x", rewrite=lambda s: {"first": s["return0"][1][1]})
    network = Network(lambda x, extra: mine.halves(x, 4)[1] * extra[:, None], (4,), 4)
    result = compress(network)
    assert result.plan.widths["before.weight"] == (8, 4)


def test_reduction_to_fewer_dimensions() -> None:
    graphprune.axes_rule(ops.energy, "b c t -> b t")
    network = Network(lambda x, extra: mine.energy(x)[:, None] * extra[:, None])
    halved(network, "before.weight")


def test_values_that_depend_on_the_number_of_channels_need_a_masked_form() -> None:
    def centred(keep: dict[str, Tensor], x: Tensor) -> Tensor:
        count = keep["x"].sum(1, keepdim=True)
        return x - torch.where(keep["x"], x, 0).sum(1, keepdim=True) / count

    graphprune.op_rule(ops.centre, masked=centred)(OpCall.pointwise)
    halved(Network(lambda x, extra: mine.centre(x) * extra[:, None]), "before.weight")


def test_a_locked_dimension_stays() -> None:
    graphprune.axes_rule(ops.attend, "b c! t -> b c! t")
    network = Network(lambda x, extra: mine.attend(x) * extra[:, None])
    halved(network)
    analysis = graphprune.analyse(graphprune.capture(network, inputs()).module)
    (pin,) = [p for p in analysis.pinned if (p.parameter, p.dim) == ("before.weight", 0)]
    assert "attend needs the whole dimension" in pin.reason
    assert "self.op(torch.relu" in pin.source


@pytest.mark.parametrize(
    ("op", "wrong"),
    [
        (mine.centre, lambda: graphprune.pointwise_rule(ops.centre)),
        (mine.attend, lambda: graphprune.pointwise_rule(ops.attend)),
        (mine.attend, lambda: graphprune.axes_rule(ops.attend, "b c t -> b c t")),
    ],
)
def test_the_certificate_catches_a_wrong_rule(op: Any, wrong: Callable[[], None]) -> None:
    wrong()
    with pytest.raises(CertificateError):
        compress(Network(lambda x, extra: op(x) * extra[:, None]))


def test_a_rule_that_puts_channels_elsewhere_is_caught() -> None:
    @graphprune.op_rule(ops.soft_clip)
    def backwards(call: OpCall) -> Any:
        return tuple(slot.flip(1) for slot in call.labels("x"))

    with pytest.raises(CertificateError):
        compress(Network(lambda x, extra: mine.soft_clip(x, x) * extra[0]))


def test_a_rule_may_decline_a_use() -> None:
    @graphprune.op_rule(ops.attend)
    def attend(call: OpCall) -> Any:
        raise NotImplementedError("three dimensions")

    network = Network(lambda x, extra: mine.attend(x) * extra[:, None])
    halved(network)
    analysis = graphprune.analyse(graphprune.capture(network, inputs()).module)
    assert any("does not cover this use (three dimensions)" in p.reason for p in analysis.pinned)


def bad_exception(call: OpCall) -> Any:
    return {}["nothing"]


def bad_type(call: OpCall) -> Any:
    return None


def bad_shape(call: OpCall) -> Any:
    return tuple(slot.squeeze(0) for slot in call.labels("x"))


def bad_atoms(call: OpCall) -> Any:
    return tuple(slot * 1000 for slot in call.labels("x"))


def bad_outputs(call: OpCall) -> Any:
    return [call.labels("x")]


def bad_movement(call: OpCall) -> Any:
    return call.move("x")


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (bad_exception, "raised KeyError"),
        (bad_type, "returned a NoneType"),
        (bad_shape, "do not fit"),
        (bad_atoms, "do not fit"),
        (bad_outputs, "do not fit|returned a list|must return"),
        (bad_movement, "more than move"),
    ],
)
def test_a_broken_rule_is_an_error_that_names_it(rule: Callable[..., Any], says: str) -> None:
    graphprune.op_rule(ops.attend)(rule)
    network = Network(lambda x, extra: mine.soft_clip(mine.attend(x), x))
    if rule is bad_movement:
        graphprune.op_rule(ops.energy)(rule)
        network = Network(lambda x, extra: mine.energy(x)[:, None] * extra[:, None])
    with pytest.raises(UsageError, match=says) as caught:
        compress(network)
    text = str(caught.value)
    assert "graphprune_tests" in text
    assert "custom_ops.py" in text
    assert "\n" not in text


def test_a_second_rule_is_an_error() -> None:
    graphprune.pointwise_rule(ops.soft_clip)
    with pytest.raises(UsageError, match=r"there is a rule for graphprune_tests\.soft_clip"):
        graphprune.axes_rule(ops.soft_clip, "b c t, b c t -> b c t")
    with pytest.raises(UsageError, match=r"there is a rule for aten\.softmax\.int already"):
        graphprune.pointwise_rule(torch.ops.aten.softmax.int)


def test_what_is_no_operator_is_refused() -> None:
    with pytest.raises(UsageError, match=re.escape("torch.ops.mylib.my_op.default")):
        graphprune.op_rule(torch.tanh)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("b c t, c", "write inputs -> outputs"),
        ("b c t -> b c t", "2 tensor arguments"),
        ("b c t, c -> b c t, c", "1 outputs"),
        ("b c t, c -> b d t", "no input has 'd'"),
        ("b c c, c -> b c", "twice"),
        ("b c-t, c -> b c", "'c-t'"),
        ("... c t, c -> c t", "every output needs"),
    ],
)
def test_malformed_axes_are_refused_at_once(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        graphprune.axes_rule(ops.scale_channels, text)


@pytest.mark.parametrize(
    "text", ["... c t, c -> ... c t", "b c t, c -> b c t", "b c ..., c -> b c ..."]
)
def test_ellipsis_stands_for_any_dimensions(text: str) -> None:
    graphprune.axes_rule(ops.scale_channels, text)
    halved(Network(mine.scale_channels), "before.weight")


def test_axes_of_another_rank_leave_the_call_alone() -> None:
    graphprune.axes_rule(ops.scale_channels, "b c, c -> b c")
    halved(Network(mine.scale_channels))


@torch.library.custom_op("graphprune_tests::normalise_here", mutates_args={"x"})
def _normalise_here(x: Tensor) -> None:
    x.div_(x.std(1, keepdim=True))


@_normalise_here.register_fake
def _(x: Tensor) -> None:
    return None


def test_what_writes_in_place_and_returns_nothing_holds_what_it_writes() -> None:
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.out = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.first(x)) + 0.1
            torch.ops.graphprune_tests.normalise_here(x)
            answer: Tensor = self.out(torch.relu(self.second(x)))
            return answer

    torch.manual_seed(0)
    model = Writes().eval()
    result = graphprune.compress(model, torch.randn(3, 4), method="l2", target="channels=0.5")
    assert result.plan.widths == {"second.weight": (8, 4)}
    reasons = {pin.reason for pin in result.report.pinned if pin.parameter == "first.bias"}
    assert reasons == {"no rule for graphprune_tests.normalise_here.default: it writes in place"}
