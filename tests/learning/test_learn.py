"""Learning switches ranks the channels that matter first, and changes nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from graphprune.analysis.groups import analyse
from graphprune.capturing.capture import Captured, capture
from graphprune.errors import DataError, TrainingError, UsageError
from graphprune.graph.graphmodule import frozen
from graphprune.importance.learn import learn_switches
from graphprune.importance.learn_config import MOST_PASSES, SMALLEST_BATCH, LearnConfig
from graphprune.passes.insert_switches import InsertSwitches
from graphprune.switches.dirichlet import Dirichlet, DirichletSwitch
from graphprune.switches.group_lasso import GroupLasso
from graphprune.switches.method import SwitchGroup, SwitchMethod
from graphprune.switches.placement import switch_sites
from graphprune.switches.sites import SwitchSite
from graphprune.switches.vcnp import VariationalSaliency

Data = list[tuple[tuple[torch.Tensor, ...], torch.Tensor | None]]
LIVE = 3  # channels 0, 1, 2 are read by the next layer; 3 … 7 are ignored


def along(size: int, ndim: int) -> torch.Tensor:
    return torch.arange(size).reshape([size if i == 1 else 1 for i in range(ndim)])


@pytest.fixture
def planted() -> tuple[Captured, tuple[SwitchSite, ...], Data]:
    """A trained classifier whose consumers ignore five of eight channels, twice."""
    model = nn.Sequential(
        nn.Linear(6, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(True),
        nn.Linear(8, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )
    masks = {3: model[3], 5: model[5]}
    x = torch.randn(160, 6)
    y = (x[:, :3] + 0.3 * x[:, 3:]).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        with torch.no_grad():
            for layer in masks.values():
                layer.weight[:, LIVE:] = 0  # type: ignore[operator, union-attr]
    captured = capture(model, x[:2])
    linears = [n.name for n in captured.module.graph.nodes if "linear" in str(n.target)]
    norm = next(n.name for n in captured.module.graph.nodes if "batch_norm" in str(n.target))
    sites = (
        SwitchSite(norm, "0.weight", along(8, 2)),
        SwitchSite(linears[1], "3.weight", along(8, 2)),
    )
    data: Data = [((x[i : i + 32],), y[i : i + 32]) for i in range(0, 160, 32)]
    return captured, sites, data


def unlabelled(data: Data) -> Data:
    return [(inputs, None) for inputs, _ in data]


def assert_ignored_channels_last(scores: dict[str, torch.Tensor]) -> None:
    assert set(scores) == {"0.weight", "3.weight"}
    for values in scores.values():
        assert values.shape == (8,)
        assert values[LIVE:].max() < values[:LIVE].max()
        assert values.argsort(descending=True)[0] < LIVE


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("mode", ["joint", "sequential"])
@pytest.mark.parametrize("variant", ["mean", "implicit", "per-example"])
def test_ignored_channels_are_ranked_last(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data], variant: str, mode: str, labels: bool
) -> None:
    captured, sites, data = planted
    config = LearnConfig(mode=mode, epochs=16)  # type: ignore[arg-type]
    method = Dirichlet(variant=variant, lr=0.05)  # type: ignore[arg-type]
    result = learn_switches(
        captured, sites, data if labels else unlabelled(data), method, config=config
    )
    assert_ignored_channels_last(result.scores)
    rounds = 2 if mode == "sequential" else 1
    assert len(result.history) == 16 * len(data) * rounds
    for group, phi in result.posteriors.items():
        torch.testing.assert_close(result.scores[group], phi / phi.mean())
        assert result.uncertainties[group].shape == (8,)


def test_every_live_channel_beats_every_ignored_one(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted
    # Equally strong live channels: what is left to tell apart is live from ignored.
    with torch.no_grad():
        captured.module.get_parameter("5.weight")[:, :LIVE] = torch.eye(3) * 4
        captured.module.get_parameter("3.weight")[:LIVE] = captured.module.get_parameter(
            "3.weight"
        )[:LIVE].sign() * (torch.arange(8) < LIVE)
    result = learn_switches(
        captured, sites[1:], unlabelled(data), Dirichlet(lr=0.05), config=LearnConfig(epochs=20)
    )
    scores = result.scores["3.weight"]
    assert scores[LIVE:].max() < scores[:LIVE].min()


def test_the_model_is_left_as_it_was(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted
    graph, state = str(captured.module.graph), captured.module.state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    random_state = torch.get_rng_state()
    config = LearnConfig(max_steps=5)
    learn_switches(captured, sites, data, Dirichlet(variant="per-example"), config=config)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert str(captured.module.graph) == graph
    assert all(torch.equal(before[n], t) for n, t in captured.module.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in captured.module.parameters())


def test_seeds_decide(planted: tuple[Captured, tuple[SwitchSite, ...], Data]) -> None:
    captured, sites, data = planted

    def scores(seed: int) -> torch.Tensor:
        config = LearnConfig(samples=2, seed=seed, max_steps=5)
        method = Dirichlet(variant="implicit")
        return learn_switches(captured, sites, data, method, config=config).scores["0.weight"]

    assert torch.equal(scores(1), scores(1))
    assert not torch.equal(scores(1), scores(2))


def test_the_first_step_sees_the_original_loss(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted
    result = learn_switches(captured, sites, data, config=LearnConfig(max_steps=1))
    inputs, target = data[0]
    assert target is not None
    expected = F.cross_entropy(captured.module(*inputs), target).item()
    assert result.history[0]["loss"] == pytest.approx(expected, rel=1e-5)
    assert result.history[0]["kl"] > 0


def test_the_kl_pulls_towards_the_prior(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted
    kl = {
        weight: learn_switches(
            captured, sites, data, config=LearnConfig(kl_weight=weight, epochs=10)
        ).history[-1]["kl"]
        for weight in (0.0, 100.0)
    }
    assert kl[100.0] < 0.5 * kl[0.0]


def test_batch_norm_in_training_mode_would_divide_the_switch_away() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    x = torch.randn(16, 2, 8, 8) * 3
    captured = capture(model, x[:2])
    conv, norm = (n.name for n in captured.module.graph.nodes if n.name in ("conv2d", "batch_norm"))

    def gradient(node: str, training: bool) -> float:
        module = frozen(captured.module).train(training)
        switch = DirichletSwitch(4)
        InsertSwitches(sites=(SwitchSite(node, "g", along(4, 4)),), switches={"g": switch})(module)
        (module(x) * torch.randn(x.shape[0], 4, 6, 6)).sum().backward()
        assert switch.raw.grad is not None
        return switch.raw.grad.abs().max().item()

    kept = gradient(norm, training=False)
    assert kept > 1e-2
    assert gradient(conv, training=False) > 1e-2
    assert gradient(conv, training=True) < 1e-4 * kept
    assert gradient(norm, training=True) > 1e-2


def test_reports_progress_and_lets_interrupts_through(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted
    seen: list[tuple[str, int, int]] = []

    def progress(stage: str, done: int, total: int, info: dict[str, float]) -> None:
        assert set(info) == {"loss", "kl"}
        seen.append((stage, done, total))

    learn_switches(captured, sites, data, config=LearnConfig(epochs=4), progress=progress)
    assert seen[-1] == ("learn", 20, 20)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_switches(captured, sites, data, config=LearnConfig(epochs=4), progress=interrupt)


def test_a_loss_that_is_not_finite_names_its_step(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted
    calls = 0

    def loss(output: object, target: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        assert isinstance(output, torch.Tensor)
        return output.mean() / (0.0 if calls == 3 else 1.0)

    with pytest.raises(TrainingError, match="step 3"):
        learn_switches(captured, sites, data, loss=loss)


def test_keyword_inputs_and_custom_switches() -> None:
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor, *, gate: torch.Tensor) -> torch.Tensor:
            return self.a(x) * gate

    x, gate = torch.randn(8, 3), torch.rand(8, 4)
    captured = capture(TwoInputs(), ((x,), {"gate": gate}))
    linear = next(n.name for n in captured.module.graph.nodes if "linear" in str(n.target))
    made: list[SwitchGroup] = []

    class Watched(Dirichlet):
        def switch(self, group: SwitchGroup) -> DirichletSwitch:
            made.append(group)
            return super().switch(group)

    result = learn_switches(
        captured,
        [SwitchSite(linear, "a", along(4, 2))],
        [((x, gate), None), ({"x": x, "gate": gate}, None)],
        Watched(),
        config=LearnConfig(epochs=1, intervals=False),
    )
    assert made == [SwitchGroup("a", 4, batched=True)]
    assert len(result.history) == 2


def test_no_data_no_labels_and_bad_settings(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted
    with pytest.raises(DataError, match="no data"):
        learn_switches(captured, sites, [])
    with pytest.raises(DataError, match="only once"):
        learn_switches(captured, sites, iter(data[:1]))
    with pytest.raises(UsageError, match="without labels"):
        learn_switches(captured, sites, unlabelled(data), Dirichlet(variant="mean", mass=1.0))
    auto = learn_switches(
        captured, sites, unlabelled(data), Dirichlet(mass=1.0), config=LearnConfig(max_steps=1)
    )
    assert auto.method == Dirichlet(variant="per-example", mass=1.0)
    assert learn_switches(captured, [], data).scores == {}


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "parallel"},
        {"samples": 0},
        {"epochs": 0},
        {"max_steps": 0},
        {"min_steps": 0},
        {"kl_weight": -1.0},
        {"kl_anneal": 2.0},
    ],
)
def test_bad_settings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LearnConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "batches", "rounds", "steps"),
    [
        ({}, 10, 1, 300),  # as many passes as it takes, the last one broken off
        ({}, 301, 1, 301),  # one pass
        ({}, 2, 1, 2 * MOST_PASSES),
        ({}, 10, 4, 75),
        ({}, 10, 40, 10),
        ({"min_steps": 25}, 10, 1, 25),
        ({"max_steps": 7}, 10, 1, 7),
        ({"epochs": 1}, 10, 1, 10),
        ({"epochs": 3}, 10, 4, 30),
        ({"epochs": 3, "max_steps": 25}, 10, 1, 25),
    ],
)
def test_little_data_are_seen_again_until_there_are_steps_enough(
    options: dict[str, int], batches: int, rounds: int, steps: int
) -> None:
    assert LearnConfig(**options).steps(batches, rounds) == steps  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "examples", "size"),
    [
        ({}, 1000, SMALLEST_BATCH),
        ({}, 9000, 30),
        ({}, 50_000, 64),
        ({"epochs": 1}, 1000, 64),
        ({"max_steps": 5}, 1000, 64),
    ],
)
def test_little_data_come_in_smaller_batches(
    options: dict[str, int], examples: int, size: int
) -> None:
    assert LearnConfig(**options).batch_size(examples, 64) == size  # type: ignore[arg-type]


def test_without_a_number_of_passes_data_are_read_again(
    planted: tuple[Captured, tuple[SwitchSite, ...], Data],
) -> None:
    captured, sites, data = planted

    def steps(mode: str, method: Dirichlet) -> int:
        config = LearnConfig(mode=mode, min_steps=12)  # type: ignore[arg-type]
        return len(learn_switches(captured, sites, data, method, config=config).history)

    assert steps("joint", Dirichlet()) == 12
    assert steps("sequential", Dirichlet()) == 6 * 2
    assert steps("joint", Dirichlet(weights="trained")) == len(data)


@pytest.mark.parametrize("method", [VariationalSaliency(), GroupLasso(weights="trained")])
def test_weights_in_half_precision_are_trained_along(method: SwitchMethod) -> None:
    """Adam's usual 1e-8 is 0 there, and a weight without a gradient would become 0 / 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).half().eval()
    x = torch.randn(64, 6).half()
    x[:, 0] = 0
    captured = capture(model, x[:2])
    batches = [(part, part[:, 1:4].argmax(1)) for part in x.split(16)]
    found = learn_switches(
        captured,
        switch_sites(analyse(captured.module)),
        batches,
        method,
        config=LearnConfig(epochs=3),
    )
    assert found.weights is not None
    assert all(bool(value.isfinite().all()) for value in found.weights.values())
    assert not torch.equal(found.weights["0.weight"], model[0].weight)  # type: ignore[arg-type]
