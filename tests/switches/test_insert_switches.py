"""Switches in a graph scale what they should, and nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from graphprune.capturing.capture import Captured, capture
from graphprune.errors import PassError
from graphprune.graph.graphmodule import TrainableGraphModule, frozen
from graphprune.passes.insert_switches import InsertSwitches
from graphprune.switches.dirichlet import DirichletSwitch
from graphprune.switches.network import batch_first_groups
from graphprune.switches.sites import SwitchSite, group_sizes


class Given(nn.Module):
    """A switch with a scale of one's own choice."""

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.scale = nn.Parameter(scale.clone())
        self.size = scale.shape[-1]
        self.per_example = scale.ndim == 2

    def forward(self) -> torch.Tensor:
        return self.scale


def along(size: int, dim: int, ndim: int) -> torch.Tensor:
    return torch.arange(size).reshape([size if i == dim else 1 for i in range(ndim)])


def node_named(captured: Captured, part: str, which: int = 0) -> str:
    names = [n.name for n in captured.module.graph.nodes if part in str(n.target)]
    return names[which]


def switched(
    captured: Captured, sites: list[SwitchSite], scales: dict[str, nn.Module]
) -> TrainableGraphModule:
    module = frozen(captured.module)
    result = InsertSwitches(sites=tuple(sites), switches=scales)(module)
    assert result is not None
    assert result.modified
    return module


def conv_net() -> tuple[nn.Module, torch.Tensor]:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 3, 3)
    )
    with torch.no_grad():
        for buffer in (model[1].running_mean, model[1].running_var, model[1].bias):
            buffer.copy_(torch.rand(4) + 0.5)
    return model.eval(), torch.randn(3, 2, 8, 8)


def test_a_fresh_switch_changes_nothing() -> None:
    model, x = conv_net()
    captured = capture(model, x)
    sites = [
        SwitchSite(node_named(captured, "batch_norm"), "0.weight", along(4, 1, 4)),
        SwitchSite(node_named(captured, "conv2d", 1), "3.weight", along(3, 1, 4)),
    ]
    module = switched(
        captured, sites, {"0.weight": DirichletSwitch(4), "3.weight": DirichletSwitch(3)}
    )
    torch.testing.assert_close(module(x), model(x), rtol=0, atol=1e-6)
    assert set(module.switches) == {"of_0__weight", "of_3__weight"}  # type: ignore[arg-type]


@pytest.mark.parametrize("per_example", [False, True])
def test_scaling_after_the_affine_and_before_the_nonlinearity(per_example: bool) -> None:
    model, x = conv_net()
    captured = capture(model, x)
    scale = torch.rand(3, 4) - 0.3 if per_example else torch.rand(4) - 0.3
    site = SwitchSite(node_named(captured, "batch_norm"), "g", along(4, 1, 4))
    module = switched(captured, [site], {"g": Given(scale)})
    middle = model[1](model[0](x)) * scale.reshape(-1, 4, 1, 1)  # type: ignore[operator]
    expected = model[3](middle.relu())  # type: ignore[operator]
    torch.testing.assert_close(module(x), expected)


def test_the_affine_carries_the_switch_unless_drawn_per_example() -> None:
    model, x = conv_net()
    captured = capture(model, x)
    site = SwitchSite(node_named(captured, "batch_norm"), "g", along(4, 1, 4))

    def feature_maps_multiplied(scale: torch.Tensor) -> int:
        module = switched(captured, [site], {"g": Given(scale)})
        products = [n for n in module.graph.nodes if n.target is torch.ops.aten.mul.Tensor]
        return sum(n.meta["val"].ndim == 4 for n in products)

    assert feature_maps_multiplied(torch.ones(4)) == 0
    assert feature_maps_multiplied(torch.ones(3, 4)) == 1


@pytest.mark.parametrize(
    ("norm", "shape", "dim"),
    [
        (nn.LayerNorm(6), (2, 5, 6), 2),
        (nn.LayerNorm((5, 6)), (2, 5, 6), 1),
        (nn.LayerNorm(6, bias=False), (2, 5, 6), 2),
        (nn.LayerNorm(6, elementwise_affine=False), (2, 5, 6), 2),
        (nn.LayerNorm(6), (2, 5, 6), 1),
        (nn.RMSNorm(6), (2, 5, 6), 2),
        (nn.GroupNorm(2, 6), (2, 6, 5), 1),
        (nn.InstanceNorm1d(6, affine=True), (2, 6, 5), 1),
        (nn.BatchNorm1d(6), (4, 6), 1),
    ],
)
def test_every_norm_is_scaled_as_by_plain_multiplication(
    norm: nn.Module, shape: tuple[int, ...], dim: int
) -> None:
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(shape)
    captured = capture(norm.eval(), x)
    node = next(n for n in captured.module.graph.nodes if "norm" in str(n.target) and n.users)
    index = along(shape[dim], dim, len(shape))
    scale = torch.randn(shape[dim])
    module = switched(captured, [SwitchSite(node.name, "g", index)], {"g": Given(scale)})
    torch.testing.assert_close(module(x), norm(x) * scale[index])


def test_any_index_is_gathered_and_minus_one_is_left_alone() -> None:
    model = nn.Conv2d(2, 6, 1)
    x = torch.randn(3, 2, 4, 4)
    captured = capture(model, x)
    node = node_named(captured, "conv2d")
    index = torch.tensor([2, -1, 0, 0, 1, -1]).reshape(1, 6, 1, 1)
    spread = torch.randint(-1, 3, (1, 6, 4, 1))
    scale = torch.tensor([2.0, 3.0, -5.0])
    for one in (index, spread):
        module = switched(captured, [SwitchSite(node, "g", one)], {"g": Given(scale)})
        factor = torch.where(one < 0, torch.ones(()), scale[one])
        torch.testing.assert_close(module(x), model(x) * factor)
        rows = torch.rand(3, 3)
        module = switched(captured, [SwitchSite(node, "g", one)], {"g": Given(rows)})
        factor = torch.where(one < 0, torch.ones(()), rows[:, one[0]])
        torch.testing.assert_close(module(x), model(x) * factor)


def test_one_group_at_two_places_and_two_groups_at_one() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            x += self.b(x).relu()
            return x

    model, x = Residual(), torch.randn(5, 3)
    captured = capture(model, x)
    first, second = (node_named(captured, "linear", i) for i in (0, 1))
    sites = [
        SwitchSite(first, "g", along(4, 1, 2)),
        SwitchSite(second, "g", along(4, 1, 2)),
        SwitchSite(second, "h", torch.tensor([[1, 0, -1, -1]])),
    ]
    g, h = torch.rand(4), torch.rand(2)
    module = switched(captured, sites, {"g": Given(g), "h": Given(h)})
    stream = model.a(x) * g
    extra = torch.cat([h.flip(0), torch.ones(2)])
    torch.testing.assert_close(module(x), stream + (model.b(stream) * g * extra).relu())


def test_a_parameter_can_be_scaled() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(1, 5, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.table

    model, x = Positions(), torch.randn(2, 5, 3)
    captured = capture(model, x)
    scale = torch.rand(3)
    site = SwitchSite(node_named(captured, "table"), "g", along(3, 2, 3))
    module = switched(captured, [site], {"g": Given(scale)})
    torch.testing.assert_close(module(x), x + model.table * scale)


def test_gradients_reach_the_switches_through_in_place_operators() -> None:
    model, x = conv_net()
    captured = capture(model, x)
    sites = [
        SwitchSite(node_named(captured, "batch_norm"), "g", along(4, 1, 4)),
        SwitchSite(node_named(captured, "conv2d", 0), "h", along(4, 1, 4)),
    ]
    switches = {"g": Given(torch.ones(4)), "h": Given(torch.ones(4))}
    module = switched(captured, sites, switches)
    module(x).square().sum().backward()
    for switch in switches.values():
        assert switch.scale.grad is not None
        assert switch.scale.grad.abs().min() > 0
    assert all(p.grad is None for n, p in module.named_parameters() if "switches" not in n)


def test_the_product_keeps_the_type_of_the_value() -> None:
    model = nn.Linear(3, 4).to(torch.bfloat16)
    x = torch.randn(2, 3, dtype=torch.bfloat16)
    captured = capture(model, x)
    site = SwitchSite(node_named(captured, "linear"), "g", along(4, 1, 2))
    assert switched(captured, [site], {"g": DirichletSwitch(4)})(x).dtype == torch.bfloat16


def test_a_copy_of_a_switched_module_works() -> None:
    model, x = conv_net()
    captured = capture(model, x)
    site = SwitchSite(node_named(captured, "batch_norm"), "0.weight", along(4, 1, 4))
    module = switched(captured, [site], {"0.weight": Given(torch.rand(4))})
    twin = copy.deepcopy(module)
    assert isinstance(twin.switches, nn.ModuleDict)
    torch.testing.assert_close(twin(x), module(x))


def test_memory_changed_later_under_another_name_is_refused() -> None:
    class Slices(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            part = y[:, :2]
            part += 1
            return y

    captured = capture(Slices(), torch.randn(2, 4))
    node = node_named(captured, "slice", -1)
    width = captured.module.graph.find_nodes(op="placeholder")[0].meta["val"].shape[1]
    assert width == 4
    site = SwitchSite(node, "g", along(2, 1, 2))
    with pytest.raises(PassError, match="shares memory"):
        switched(captured, [site], {"g": Given(torch.ones(2))})
    whole = SwitchSite(node_named(captured, "mul"), "g", along(4, 1, 2))
    scale, x = torch.rand(4), torch.randn(2, 4)
    module = switched(captured, [whole], {"g": Given(scale)})
    torch.testing.assert_close(module(x), x * 2 * scale + torch.tensor([1.0, 1, 0, 0]))


@pytest.mark.parametrize(
    ("site", "word"),
    [
        (SwitchSite("nowhere", "g", along(4, 1, 4)), "nowhere"),
        (SwitchSite("conv2d", "unknown", along(4, 1, 4)), "unknown"),
        (SwitchSite("conv2d", "g", along(4, 1, 3)), "does not fit"),
        (SwitchSite("conv2d", "g", along(5, 1, 4)), "does not fit"),
        (SwitchSite("conv2d", "g", along(2, 0, 4)), "grows with the batch"),
        (SwitchSite("conv2d", "g", along(4, 1, 4).float()), "int64"),
        (SwitchSite("conv2d", "g", along(4, 1, 4) - 2), "int64"),
    ],
)
def test_sites_that_do_not_fit_are_named(site: SwitchSite, word: str) -> None:
    model, x = conv_net()
    captured = capture(model, x)
    with pytest.raises(PassError, match=word):
        InsertSwitches(sites=(site,), switches={"g": Given(torch.ones(4))})(captured.module)


def test_no_sites_no_change_and_no_second_insertion() -> None:
    model, x = conv_net()
    captured = capture(model, x)
    result = InsertSwitches()(captured.module)
    assert result is not None
    assert not result.modified
    site = SwitchSite(node_named(captured, "conv2d"), "g", along(4, 1, 4))
    module = switched(captured, [site], {"g": Given(torch.ones(4))})
    with pytest.raises(PassError, match="already"):
        InsertSwitches(sites=(site,), switches={"g": Given(torch.ones(4))})(module)
    with pytest.raises(PassError, match="share one key"):
        InsertSwitches(switches={"a.b": Given(torch.ones(1)), "a__b": Given(torch.ones(1))})(
            captured.module
        )


def test_sizes_and_batches_are_read_off_the_sites() -> None:
    class Merged(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x * 2, x.reshape(-1, 3) * 3

    captured = capture(Merged(), torch.randn(2, 5, 3))
    free = SwitchSite(node_named(captured, "mul", 0), "free", along(3, 2, 3))
    merged = SwitchSite(node_named(captured, "mul", -1), "merged", along(3, 1, 2))
    assert batch_first_groups(captured, [free, merged]) == {"free": True, "merged": False}
    assert group_sizes([free, merged]) == {"free": 3, "merged": 3}
