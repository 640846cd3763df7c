"""Criteria of gradients against answers found by another road: differences and explicit loops."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.analysis.groups import Analysis, analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.criteria.base import Evidence
from graphprune.criteria.fisher import Fisher
from graphprune.criteria.obd import OptimalBrainDamage
from graphprune.criteria.taylor import Taylor
from graphprune.errors import DataError, TrainingError, UsageError
from graphprune.io.loss import reproduce

Data = list[tuple[Any, Any]]
GROUP = "0.weight"


def mlp(outputs: int = 3, bend: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), bend(), nn.Linear(6, outputs)).eval()


def seen(model: nn.Module, x: torch.Tensor) -> tuple[Captured, Analysis]:
    captured = capture(model, x[:2])
    return captured, analyse(captured.module)


def labelled(count: int = 3, size: int = 5) -> Data:
    return [((torch.randn(size, 4),), torch.randint(0, 3, (size,))) for _ in range(count)]


def score(criterion: Any, model: nn.Module, data: Data, **given: Any) -> torch.Tensor:
    captured, analysis = seen(model, data[0][0][0])
    scores = criterion.score(Evidence(analysis, captured, data, **given))
    assert list(scores) == [GROUP]
    return scores[GROUP]


def many(data: Data, times: int = 1500) -> Data:
    """The same examples over and over: the same means, with as many draws for each."""

    def repeated(value: Any) -> Any:
        return None if value is None else value.repeat(times, *(1,) * (value.ndim - 1))

    return [((repeated(x),), repeated(y)) for (x,), y in data]


def gated(model: nn.Sequential, x: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
    return model[2](model[1](model[0](x) * gates))


def test_taylor_is_the_squared_slope_along_all_weights_of_a_channel() -> None:
    model, data = mlp(), labelled()
    step, expected = 1e-5, torch.zeros(6, dtype=torch.float64)
    for (x,), y in data:
        for channel in range(6):
            losses = []
            for factor in (1 + step, 1 - step):
                moved = copy.deepcopy(model).double()
                with torch.no_grad():
                    moved[0].weight[channel] *= factor
                    moved[0].bias[channel] *= factor
                    moved[2].weight[:, channel] *= factor
                losses.append(F.cross_entropy(moved(x.double()), y))
            expected[channel] += ((losses[0] - losses[1]) / (2 * step)) ** 2 / len(data)
    torch.testing.assert_close(score(Taylor(), model, data), expected, rtol=1e-4, atol=1e-9)


def test_fisher_is_half_the_mean_of_squared_gradients_of_single_examples() -> None:
    model, data = mlp(), labelled()
    expected, count = torch.zeros(6), 0
    for (x,), y in data:
        for example, label in zip(x, y, strict=True):
            gates = torch.ones(6, requires_grad=True)
            loss = F.cross_entropy(gated(model, example[None], gates), label[None])
            expected += torch.autograd.grad(loss, gates)[0].square()
            count += 1
    expected = expected.double() / (2 * count)
    torch.testing.assert_close(score(Fisher(), model, data), expected, rtol=1e-4, atol=1e-9)


def batched(x: torch.Tensor, y: torch.Tensor, size: int) -> Data:
    return [((a,), b) for a, b in zip(x.split(size), y.split(size), strict=True)]


@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("positions", [1, 2])
def test_fisher_does_not_depend_on_how_examples_are_batched(ignored: bool, positions: int) -> None:
    """12 examples: sizes that divide them, that do not, one at a time and all at once."""
    model = mlp()
    x, y = torch.randn(12, positions, 4), torch.randint(0, 3, (12, positions))
    if ignored:
        y[1], y[4, 0], y[10, -1] = -100, -100, -100
    if positions == 1:
        x, y = x[:, 0], y[:, 0]
    expected, count = torch.zeros(6), 0
    for example, label in zip(x, y, strict=True):
        if bool((label == -100).all()):
            continue
        gates = torch.ones(6, requires_grad=True)
        output = gated(model, example[None], gates).reshape(-1, 3)
        loss = F.cross_entropy(output, label.reshape(-1), ignore_index=-100)
        expected += torch.autograd.grad(loss, gates)[0].square()
        count += 1
    sizes = (3, 5, 7, 12) if ignored else (1, 5, 7, 12)
    found = [score(Fisher(), model, batched(x, y, size)) for size in sizes]
    for one in found:
        torch.testing.assert_close(one, expected.double() / (2 * count), rtol=1e-4, atol=1e-9)


def test_obd_weighs_a_small_last_batch_by_its_labels() -> None:
    model = mlp(bend=nn.ReLU)
    x, y = torch.randn(7, 4), torch.randint(0, 3, (7,))
    expected = exact_curvature(model, [((x,), y)], F.cross_entropy)
    found = score(OptimalBrainDamage(probes=2000), model, batched(x, y, 6))
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.03 * float(expected.max()))


def test_fisher_takes_the_batch_where_examples_are_merged() -> None:
    class Merged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mlp(x.reshape(-1, 4)).reshape(x.shape[0], 2, 3).sum(1)

    model = Merged().eval()
    data: Data = [((torch.randn(5, 2, 4),), torch.randint(0, 3, (5,))) for _ in range(2)]
    expected = torch.zeros(6)
    for (x,), y in data:
        gates = torch.ones(6, requires_grad=True)
        output = gated(model.mlp, x.reshape(-1, 4), gates).reshape(5, 2, 3).sum(1)
        slope = torch.autograd.grad(F.cross_entropy(output, y), gates)[0]
        expected += 0.5 * 5 * slope.square() / len(data)
    captured, analysis = seen(model, data[0][0][0])
    found = Fisher().score(Evidence(analysis, captured, data))["mlp.0.weight"]
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-9)


def test_without_labels_fisher_is_the_change_of_the_output() -> None:
    """With one output a random sign squares to 1, so the answer is exact: half its derivative."""
    model, x = mlp(outputs=1), torch.randn(8, 4)

    def distance(gates: torch.Tensor) -> torch.Tensor:
        return reproduce(gated(model, x, gates), model(x).detach())

    exact = torch.autograd.functional.hessian(distance, torch.ones(6)).diagonal() / 2
    found = score(Fisher(), model, [((x,), None)])
    torch.testing.assert_close(found, exact.double(), rtol=1e-4, atol=1e-9)


def test_without_labels_projections_agree_with_the_whole_jacobian_on_average() -> None:
    model, x = mlp(), torch.randn(8, 4)

    def outputs(gates: torch.Tensor) -> torch.Tensor:
        return gated(model, x, gates)

    jacobian = torch.func.jacrev(outputs)(torch.ones(6))
    answers = model(x).detach()
    weight = 1 / (answers.numel() * answers.var(correction=0))
    expected = weight * jacobian.square().sum((0, 1))
    found = score(Fisher(), model, many([((x,), None)]))
    torch.testing.assert_close(found, expected.detach().double(), rtol=0.1, atol=0)


def test_the_users_loss_is_the_one_that_counts() -> None:
    model, data = mlp(), labelled()

    def first_output(output: Any, target: Any) -> torch.Tensor:
        del target
        return output[:, 0].mean()

    expected = torch.zeros(6)
    for (x,), _ in data:
        gates = torch.ones(6).repeat(5, 1).requires_grad_()
        slope = torch.autograd.grad(gated(model, x, gates)[:, 0].sum(), gates)[0]
        expected += slope.square().sum(0) / 30
    found = score(Fisher(), model, data, loss=first_output)
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-9)


def exact_curvature(model: nn.Sequential, data: Data, loss: Any) -> torch.Tensor:
    """Half the diagonal of the exact Hessian by the gates, mean over batches."""
    total = torch.zeros(6)
    for (x,), y in data:

        def of_gates(gates: torch.Tensor, x: torch.Tensor = x, y: Any = y) -> torch.Tensor:
            return loss(gated(model, x, gates), y)

        hessian = torch.autograd.functional.hessian(of_gates, torch.ones(6))
        assert isinstance(hessian, torch.Tensor)
        total += hessian.diagonal() / 2 / len(data)
    return total.double()


def weighed_cubes(output: Any, target: Any) -> torch.Tensor:
    """A loss with a full, indefinite Hessian by the outputs."""
    one_hot = F.one_hot(target, 3)
    return ((output - one_hot).pow(3) + 3 * output * output.roll(1, 1)).mean()


@pytest.mark.parametrize("loss", [None, F.mse_loss, weighed_cubes])
def test_obd_is_half_the_diagonal_of_the_exact_hessian(loss: Any) -> None:
    """With ReLU the outputs are linear in one gate at a time: Gauss-Newton leaves nothing out."""
    model, data = mlp(bend=nn.ReLU), labelled(2)
    if loss is F.mse_loss:
        data = [(inputs, torch.randn(5, 3)) for inputs, _ in data]
    expected = exact_curvature(model, data, loss or F.cross_entropy).abs()
    found = score(OptimalBrainDamage(), model, many(data), loss=loss)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.05 * float(expected.max()))


def test_obd_leaves_ignored_labels_out() -> None:
    model = mlp(bend=nn.ReLU)
    x, y = torch.randn(6, 4), torch.randint(0, 3, (6,))
    y[[1, 4]] = -100
    expected = exact_curvature(model, [((x,), y)], F.cross_entropy)
    found = score(OptimalBrainDamage(), model, many([((x,), y)]))
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.03 * float(expected.max()))


def test_obd_without_labels_is_half_the_curvature_of_the_distance() -> None:
    model, x = mlp(), torch.randn(8, 4)
    reference = model(x).detach()

    def distance(output: Any, _: Any) -> torch.Tensor:
        return reproduce(output, reference)

    expected = exact_curvature(model, [((x,), None)], distance)
    for loss in (None, lambda output, target: F.mse_loss(output, target) / reference.var()):
        found = score(OptimalBrainDamage(), model, many([((x,), None)]), loss=loss)
        torch.testing.assert_close(found / found.sum(), expected / expected.sum(), rtol=0.1, atol=0)


def test_more_probes_are_more_of_the_same() -> None:
    model, data = mlp(bend=nn.ReLU), many(labelled(1), 300)
    expected = exact_curvature(model, data, F.cross_entropy)
    found = score(OptimalBrainDamage(probes=5), model, data)
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.03 * float(expected.max()))


def test_obd_refuses_a_loss_without_curvature() -> None:
    with pytest.raises(UsageError, match="nothing to go by"):
        score(OptimalBrainDamage(), mlp(), labelled(), loss=lambda output, _: output.sum())
    with pytest.raises(UsageError, match="probes"):
        OptimalBrainDamage(probes=0)


def test_a_limit_uses_the_first_batches() -> None:
    model, data = mlp(), labelled(4)
    for kind in (Fisher, Taylor, OptimalBrainDamage):
        assert torch.equal(score(kind(batches=2), model, data), score(kind(), model, data[:2]))


@pytest.mark.parametrize("kind", [Fisher, Taylor, OptimalBrainDamage])
def test_the_model_is_left_as_it_was(kind: Any) -> None:
    model, data = mlp(), labelled()
    captured, analysis = seen(model, data[0][0][0])
    graph = str(captured.module.graph)
    before = {name: value.clone() for name, value in captured.module.state_dict().items()}
    kind().score(Evidence(analysis, captured, data))
    assert str(captured.module.graph) == graph
    assert all(torch.equal(before[n], v) for n, v in captured.module.state_dict().items())
    assert all(p.grad is None for p in captured.module.parameters())


@pytest.mark.parametrize("kind", [Fisher, Taylor])
def test_what_cannot_be_scored_is_refused(kind: Any) -> None:
    model, data = mlp(), labelled()
    captured, analysis = seen(model, data[0][0][0])
    unlabelled = [(inputs, None) for inputs, _ in data]
    with pytest.raises(UsageError, match="--data"):
        kind().score(Evidence(analysis))
    with pytest.raises(DataError, match="no data"):
        kind().score(Evidence(analysis, captured, []))
    with pytest.raises(UsageError, match="no slope"):
        kind().score(Evidence(analysis, captured, unlabelled, F.mse_loss))
    with pytest.raises(UsageError, match="nothing to go by: the loss is the same"):
        kind().score(Evidence(analysis, captured, data, lambda a, _: (a * 0).sum()))
    with pytest.raises(TrainingError, match="step 1"):
        kind().score(Evidence(analysis, captured, data, lambda a, _: a.sum() / 0))


def test_a_divergence_from_the_original_is_known_for_stationary_in_spite_of_rounding() -> None:
    model, data = mlp(), labelled()

    def divergence(output: Any, target: Any) -> torch.Tensor:
        return F.kl_div(output.log_softmax(1), target.softmax(1), reduction="batchmean")

    with pytest.raises(UsageError, match="no slope"):
        score(Fisher(), model, [(inputs, None) for inputs, _ in data], loss=divergence)


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int]] = []
    score(Fisher(), mlp(), labelled(), progress=lambda *a: told.append(a[:3]))
    assert told[-1] == ("score", 3, 3)
