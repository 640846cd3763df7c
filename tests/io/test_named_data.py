"""Data by name: batches that are dicts, and data sets of arrays by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from graphprune import CompressConfig, LearnConfig, compress
from graphprune.compressed import Compressed
from graphprune.errors import DataError

TOKENS = torch.randint(0, 20, (24, 5), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(5) < 4).long().expand(24, 5).clone()
LABELS = TOKENS.sum(1) % 3


class Classifier(nn.Module):
    """Takes what tokenizers give; the mask comes first among its parameters."""

    def __init__(self, per_token: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mix, self.head = nn.Embedding(20, 16), nn.Linear(16, 16), nn.Linear(16, 20)
        self.per_token = per_token

    def forward(self, mask: torch.Tensor, tokens: torch.Tensor, scaled: bool = False) -> Any:
        x = self.mix(self.embed(tokens)).relu() * mask[..., None]
        x = x if self.per_token else x.sum(1)
        logits = self.head(x * 2 if scaled else x)
        return {"logits": logits.transpose(1, 2) if self.per_token else logits}


EXAMPLES = {"tokens": TOKENS[:2], "mask": MASK[:2]}
ALL = {"tokens": TOKENS, "mask": MASK, "labels": LABELS}
ROWS = [{name: values[i] for name, values in ALL.items()} for i in range(24)]


def _compress(data: Any, method: str = "l2", **examples: Any) -> Compressed:
    result = compress(
        Classifier(),
        EXAMPLES | examples,
        method=method,
        data=data,
        finetune_epochs=1,
        config=CompressConfig(learn=LearnConfig(epochs=1)),
    )
    assert isinstance(result, Compressed)
    return result


@pytest.mark.parametrize(
    "data",
    [
        lambda: DataLoader(ROWS, batch_size=4),  # type: ignore[arg-type]
        lambda: [{name: values[i : i + 4] for name, values in ALL.items()} for i in (0, 4, 8, 12)],
        lambda: {"tokens": TOKENS.numpy(), "mask": MASK, "labels": LABELS},
        lambda: DataLoader(
            [({"tokens": t, "mask": m}, y) for t, m, y in zip(TOKENS, MASK, LABELS, strict=True)]
        ),  # type: ignore[arg-type]
    ],
    ids=["loader of dicts", "batches", "arrays", "loader of (dict, y)"],
)
def test_forms(data: Callable[[], Any]) -> None:
    models = _compress(data()).report.models
    assert models["dense"].accuracy is not None


@pytest.mark.parametrize("method", ["dirichlet", "taylor", "activation-mean"])
def test_methods(method: str) -> None:
    assert _compress(ALL, method).certificate.passed


def test_flags_stay_as_in_the_examples() -> None:
    by_name = _compress(ALL, scaled=True).report.models["dense"]
    in_order = _compress(((TOKENS, MASK), LABELS), scaled=True).report.models["dense"]
    plain = _compress(ALL).report.models["dense"]
    assert by_name.loss == in_order.loss != plain.loss


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"tokens": TOKENS, "labels": LABELS}, "the data lack mask, .* captured with tokens, mask"),
        (ALL | {"index": LABELS}, "the data hold index, but the model was captured with"),
        (ALL | {"label": LABELS}, "holds 2 targets"),
        (ALL | {"text": ["a"] * 24}, "'text' of a batch is no tensor"),
        ({"labels": LABELS}, "holds no inputs"),
        ([ALL, {"tokens": TOKENS, "labels": LABELS}], "differ in their inputs"),
    ],
)
def test_what_does_not_fit(data: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        _compress(data)


def test_targets_among_the_example_inputs() -> None:
    class Learning(Classifier):
        def forward(self, mask: Any, tokens: Any, labels: Any = None) -> Any:
            return super().forward(mask, tokens)["logits"] + labels[:, None]

    examples = EXAMPLES | {"labels": LABELS[:2]}
    with pytest.raises(DataError, match=r"captured with labels, .* leave them out of the example"):
        compress(Learning(), examples, data=ALL)


def test_labels_that_repeat_the_input_teach_copying() -> None:
    data = {"tokens": TOKENS, "mask": MASK, "labels": TOKENS}
    with pytest.raises(DataError, match="labels are the inputs themselves"):
        compress(Classifier(per_token=True), EXAMPLES, data=data)

    def ahead(output: Any, target: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output["logits"][..., :-1], target[:, 1:])

    compress(Classifier(per_token=True), EXAMPLES, data=data, loss=ahead)
