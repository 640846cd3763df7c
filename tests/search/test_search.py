"""A search keeps the best of what it tried, and delivers it as compress does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune
from graphprune import CompressConfig, LearnConfig, SearchConfig
from graphprune.compressed import Compressed
from graphprune.errors import DataError, TargetError, UsageError
from graphprune.exporters.report import Report
from graphprune.proof.masked import MaskedReference

Data = tuple[torch.Tensor, torch.Tensor]


def planted() -> tuple[nn.Module, Data]:
    """A network whose first group carries everything, and whose second is nearly useless.

    Its outputs are classes; half of the budget is best spent on the second group alone.
    """
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    )
    with torch.no_grad():
        model[2].weight[8:] = 0  # type: ignore[index]
        model[2].weight[:8] *= 5  # type: ignore[index]
    x = torch.randn(600, 12, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model, (x, model(x).argmax(1))


def found(
    trials: int = 14, examples: int = 2000, method: object = "l2", **options: object
) -> Compressed:
    model, data = planted()
    common = CompressConfig(learn=LearnConfig(max_steps=2), batch_size=16, seed=0, round_to=1)
    return graphprune.search(
        model,
        data[0][:2],
        target="params=0.5",
        method=method,
        data=data,
        config=SearchConfig(trials, examples, common),
        **options,
    )


def test_the_best_beats_the_plain_allocation_at_the_same_budget() -> None:
    result = found()
    best = result.stages.trials[0]
    plain = next(row for row in result.stages.trials if row.allocation == "local")
    assert best.place == 1
    assert best.accuracy > plain.accuracy + 0.05
    assert plain.reached == pytest.approx(0.5, abs=0.01)
    assert all(row.reached <= max(plain.reached, 0.505) for row in result.stages.trials)
    assert result.certificate.passed
    assert best.widths == tuple(after for _, after in result.plan.widths.values())
    assert result.report.models["pruned"].accuracy == best.accuracy
    assert any("14 allocations were tried" in note for note in result.report.notes)


def test_the_figures_are_those_of_the_masked_model() -> None:
    result = found(trials=3)
    stages = result.stages
    reference = MaskedReference(stages.analysis, result.plan.keep(stages.analysis))
    right = total = 0
    for inputs, target in stages.held_out:
        right += int((reference(*inputs).argmax(1) == target).sum())
        total += len(target)
    assert total == 60
    assert stages.trials[0].accuracy == pytest.approx(right / total)


def test_the_same_seed_finds_the_same() -> None:
    assert found(trials=12).plan == found(trials=12).plan


def test_allocations_are_tried_once_and_no_more_than_there_are() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(40, 6)
    seen: list[int] = []

    def progress(stage: str, done: int, *_: object) -> None:
        if stage == "search" and done:
            seen.append(done)

    config = SearchConfig(20, compress=CompressConfig(progress=progress))
    result = graphprune.search(
        model, x[:2], target="channels=0.5", method="l2", data=x, config=config
    )
    assert [row.place for row in result.stages.trials] == [1]
    assert seen == [1, 1]  # the one trial, and the end of the stage
    assert result.plan.widths == {"0.weight": (4, 2)}


def test_the_best_few_are_judged_on_all_examples() -> None:
    few, all_of_them = found(trials=10, examples=16), found(trials=10)
    assert few.report.models["pruned"].accuracy == few.stages.trials[0].accuracy
    sixtieths = [row.accuracy * 60 for row in few.stages.trials[:5]]
    assert sixtieths == pytest.approx([round(one) for one in sixtieths])
    assert all_of_them.stages.trials[0].accuracy >= few.stages.trials[0].accuracy


def test_several_methods_compete() -> None:
    result = found(method=("random", "l2", "random"), trials=16)
    assert {row.method for row in result.stages.trials} == {"random", "l2"}
    assert result.plan.method == "l2"
    assert result.report.method == "l2"


def test_methods_that_train_the_weights_are_cut_as_trained() -> None:
    result = found(method=["gl{weights=trained}", "l2"], trials=8, finetune_epochs=1)
    assert result.certificate.passed
    assert result.stages.finetuned is not None


def test_without_labels_the_distance_decides() -> None:
    model, (x, _) = planted()
    result = graphprune.search(
        model, x[:2], target="params=0.5", method="l2", data=x, config=SearchConfig(12)
    )
    rows = result.stages.trials
    assert all(row.accuracy is None for row in rows)
    losses = [row.loss for row in rows if row.loss is not None]
    assert losses == sorted(losses)


def test_the_report_keeps_the_table(tmp_path: object) -> None:
    report = found(trials=4).report
    path = f"{tmp_path}/report.json"
    report.write_json(path)
    assert Report.load(path).trials == report.trials


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"data": None}, DataError, "held-out data"),
        ({"method": ()}, UsageError, "no method"),
        ({"method": "nothing"}, UsageError, "not known"),
        ({"target": "channels=0.001"}, TargetError, "cannot be reached"),
        ({"target": "auto"}, TargetError, "shares a budget"),
        ({"finetune_epochs": -1}, DataError, "finetune_epochs"),
    ],
)
def test_what_makes_no_sense_is_refused(
    given: dict[str, object], error: type[Exception], says: str
) -> None:
    model, data = planted()
    with pytest.raises(error, match=says):
        graphprune.search(model, data[0][:2], **({"data": data, "method": "l2"} | given))


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(UsageError, match="trials"):
        SearchConfig(trials=0)
    with pytest.raises(UsageError, match="examples"):
        SearchConfig(examples=0)
    for trials in (2.5, "8", None, True):
        with pytest.raises(UsageError, match="trials must be a whole number, got"):
            SearchConfig(trials=trials)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="epochs must be a whole number"):
        LearnConfig(epochs=1.5)  # type: ignore[arg-type]


def test_a_single_trial_is_not_the_best_of_many() -> None:
    notes = " ".join(found(trials=1).report.notes)
    assert "were tried" not in notes
    assert "flatter" not in notes


def test_a_missed_budget_hints_at_no_option_that_a_search_lacks() -> None:
    model, (x, y) = planted()
    common = CompressConfig(batch_size=16, seed=0, round_to=32)
    given = {"target": "params=0.7", "method": "l2", "data": (x, y)}
    result = graphprune.search(model, x[:2], config=SearchConfig(1, compress=common), **given)
    (missed,) = (note for note in result.report.notes if "asked for params=0.7" in note)
    assert "--ranking" not in missed
    plain = graphprune.compress(model, x[:2], config=common, **given)
    assert any("another --ranking has others" in note for note in plain.report.notes)
