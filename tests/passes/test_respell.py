"""What a decomposed program, or another spelling, says is what the usual operators say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hand_worked import Net, conv, half
from torch import fx, nn

from graphprune import capture, compress
from graphprune.compressed import Compressed
from graphprune.graph.aliases import written_arguments
from graphprune.passes.respell import Respell
from graphprune.proof.compare import max_relative_error

aten = torch.ops.aten
Tensor = torch.Tensor
X = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))

BETWEEN = {
    "batch norm": nn.BatchNorm2d(16),
    "batch norm of the batch": nn.BatchNorm2d(16, track_running_stats=False),
    "instance norm": nn.InstanceNorm2d(16, affine=True),
    "group norm": nn.GroupNorm(4, 16),
    "layer norm": nn.Sequential(nn.Flatten(2), nn.LayerNorm(49), nn.Unflatten(2, (7, 7))),
    "dropout": nn.Dropout(0.3),
    "dropout and norm": nn.Sequential(nn.Dropout(0.3), nn.BatchNorm2d(16)),
}
TABLES = {"core": None, "functional": {}}


def _network(between: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), between, nn.ReLU(), nn.Conv2d(16, 4, 3))
    net = copy.deepcopy(net)
    for name, tensor in net.state_dict().items():
        if name.startswith("1.") and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return net


def _decomposed(net: nn.Module, table: str) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim.DYNAMIC}
    program = torch.export.export(net, (X,), dynamic_shapes=(batch,))
    return program.run_decompositions(TABLES[table])


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", BETWEEN)
def test_a_decomposed_program_loses_what_the_model_does(
    name: str, training: bool, table: str
) -> None:
    net = _network(BETWEEN[name])
    program = _decomposed(net.train(training), table)
    expected, result = compress(net.eval(), X, method="l2"), compress(program, X, method="l2")
    assert isinstance(expected, Compressed)
    assert isinstance(result, Compressed)
    assert result.plan.kept == expected.plan.kept
    wider = torch.rand(3, *X.shape[1:])
    assert max_relative_error(result.model(wider), expected.model(wider)) < 1e-5


@pytest.mark.parametrize("table", TABLES)
def test_one_exported_in_training_trains_on(table: str) -> None:
    net = _network(BETWEEN["batch norm"]).train()
    module = capture(_decomposed(net, table), X).module
    before = copy.deepcopy(module.state_dict())
    module.eval()(X)
    assert all(torch.equal(module.state_dict()[name], old) for name, old in before.items())
    torch.testing.assert_close(module.train()(X), net(X))
    torch.testing.assert_close(module.state_dict(), net.state_dict())


def test_one_is_delivered(tmp_path: Path) -> None:
    net = _network(nn.Sequential(BETWEEN["batch norm"], BETWEEN["group norm"])).eval()
    result = compress(_decomposed(net, "core"), X, method="l2")
    assert isinstance(result, Compressed)
    result.save(tmp_path / "out", latency=False)
    assert (tmp_path / "out" / "model.onnx").exists()


class _Counting(nn.Module):
    """A buffer that a forward writes to, of as many elements as there are channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)
        self.register_buffer("seen", torch.zeros(16))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        self.seen.copy_(x.mean((0, 2, 3)))
        return self.last(x)


def test_what_is_written_back_has_a_shape() -> None:
    program = torch.export.export(_Counting().eval(), (X,)).run_decompositions()
    result = compress(program, X, method="l2")
    assert isinstance(result, Compressed)
    assert result.model.get_buffer("seen").shape == (8,)


def _targets(forward: Callable[[Tensor], object], x: Tensor) -> list[object]:
    class Made(nn.Module):
        def forward(self, x: Tensor) -> object:
            return forward(x)

    module = torch.export.export(Made(), (x,), strict=False).module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    expected = module(x)
    Respell()(module)
    torch.testing.assert_close(module(x), expected)
    return [n.target for n in module.graph.nodes if isinstance(n.target, torch._ops.OpOverload)]


REPEATS: dict[str, Callable[[Tensor], Tensor]] = {
    "tile": lambda k: k.tile(5, 1, 2, 1),
    "tile, fewer numbers than dimensions": lambda k: k.tile(2, 3),
    "tile, more numbers than dimensions": lambda k: k.tile(2, 5, 1, 1, 1),
    "interleaved": lambda k: k.repeat_interleave(5, 0),
    "interleaved, counted from behind": lambda k: k.repeat_interleave(5, -3),
    "concatenated": lambda k: torch.cat([k] * 5, 1),
}


@pytest.mark.parametrize("forward", REPEATS.values(), ids=REPEATS)
def test_repeats_have_one_name(forward: Callable[[Tensor], Tensor]) -> None:
    assert _targets(forward, torch.rand(1, 1, 3, 3)) == [aten.repeat.default]


def test_broadcast_to_is_expand() -> None:
    x = torch.rand(1, 1, 3, 3)
    assert _targets(lambda k: k.broadcast_to(2, 5, 1, 3, 3), x) == [aten.expand.default]


def _fill(value: float | Tensor, mask: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        x = x * 2 - 1
        x[mask(x)] = value
        return x

    return forward


FILLS: dict[str, Callable[[Tensor], Tensor]] = {
    "a number": _fill(0.25, lambda x: x < 0),
    "one element": _fill(torch.tensor([0.25]), lambda x: x < 0),
    "of another call": _fill(-1, torch.isnan),
    "not in place": lambda x: x.index_put((x < 0.5,), torch.tensor(3.0)),
}


@pytest.mark.parametrize("forward", FILLS.values(), ids=FILLS)
def test_a_value_written_by_a_mask_is_masked_fill(forward: Callable[[Tensor], Tensor]) -> None:
    targets = _targets(forward, torch.rand(2, 1, 3, 3))
    assert {aten.masked_fill.Tensor, aten.masked_fill_.Tensor} & set(targets)


@pytest.mark.parametrize("value", [0.01, torch.tensor([0.01])], ids=["number", "element"])
def test_channels_written_by_a_mask_may_go(value: float | Tensor) -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(_fill(value, lambda y: y < 0)(self.first(x)))  # type: ignore[no-any-return]

    result = compress(Written().eval(), X, method="l2")
    assert isinstance(result, Compressed)
    assert result.plan.widths == {"first.weight": (16, 8)}


OTHERS: dict[str, tuple[Callable[[Tensor], object], object]] = {
    "interleaved": (lambda k: k.repeat_interleave(2, 2), aten.repeat_interleave.self_int),
    "flattened": (lambda k: k.repeat_interleave(2), aten.repeat_interleave.self_int),
    "concatenated": (lambda k: torch.cat([k, k + 1], 1), aten.cat.default),
    "mean asked": (
        lambda k: aten.native_layer_norm(k, [3], None, None, 1e-5)[:2],
        aten.native_layer_norm.default,
    ),
    "rows that a mask marks": (
        lambda k: k.index_put((k[:, 0, 0, 0] > 0,), torch.tensor(3.0)),
        aten.index_put.default,
    ),
    "added where a mask marks": (
        lambda k: k.index_put((k > 0,), torch.tensor(3.0), accumulate=True),
        aten.index_put.default,
    ),
    "elements by number": (
        lambda k: k.index_put((torch.tensor([0]),), torch.tensor(3.0)),
        aten.index_put.default,
    ),
    "several values": (
        lambda k: k.index_put((k > -1,), torch.arange(9.0)),
        aten.index_put.default,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_says_something_else_stays(name: str) -> None:
    forward, target = OTHERS[name]
    assert target in _targets(forward, torch.rand(1, 1, 3, 3))


def test_a_shape_given_in_place_is_a_view_from_there_on() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        y = net.a(x)
        z = y.mean((2, 3))
        z.unsqueeze_(2).unsqueeze_(3)
        return net.out(y * z)

    net = Net(forward, a=conv(3, 8), out=conv(8, 2))
    assert half(net).plan.widths == {"a.weight": (8, 4)}
    graph = capture(net.eval(), torch.randn(2, 3, 8, 8)).module.graph
    assert not [node for node in graph.nodes if written_arguments(node)]
