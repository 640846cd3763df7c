"""Mixtures of experts as ONNX, against the operator's own definition."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from graphprune.exporters import onnx_experts
from graphprune.exporters.onnx_ops import TRANSLATIONS


@torch.library.custom_op("graphprune_tests::grouped_product", mutates_args=())
def grouped(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    result = x.new_zeros(x.shape[0], weights.shape[2])
    first = 0
    for matrix, last in zip(weights, ends.tolist(), strict=True):
        result[first:last] = x[first:last] @ matrix
        first = last
    return result


@grouped.register_fake
def _(x: Tensor, weights: Tensor, ends: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weights.shape[2])


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(4, 6, 5))

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        result: Tensor = grouped(x, self.weights, ends)
        return result


@pytest.fixture(scope="module")
def session(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Experts, onnxruntime.InferenceSession]:
    torch.manual_seed(0)
    model, path = Experts().eval(), tmp_path_factory.mktemp("experts") / "experts.onnx"
    inputs = (torch.randn(9, 6), torch.tensor([2, 2, 5, 9], dtype=torch.int32))
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(model, inputs, dynamic_shapes=({0: rows}, None), strict=False)
    table = {torch.ops.graphprune_tests.grouped_product.default: onnx_experts.grouped_product}
    exported = torch.onnx.export(
        program, dynamo=True, verbose=False, custom_translation_table=table
    )
    assert exported is not None
    exported.save(str(path))
    return model, onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    "ends",
    [[2, 2, 5, 9], [0, 3, 3, 7], [7, 7, 7, 7], [0, 0, 0, 4], [0, 0, 0, 0]],
    ids=["all", "rest", "one", "last", "none"],
)
def test_each_expert_multiplies_its_own_rows_and_the_rest_is_zero(
    session: tuple[Experts, onnxruntime.InferenceSession], ends: list[int]
) -> None:
    model, onnx_model = session
    x, bounds = torch.randn(max(ends[-1], 3) + 1, 6), torch.tensor(ends, dtype=torch.int32)
    names = [given.name for given in onnx_model.get_inputs()]
    (found,) = onnx_model.run(None, dict(zip(names, (x.numpy(), bounds.numpy()), strict=True)))
    expected = model(x, bounds).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_torch_s_own_operator_is_translated() -> None:
    found = TRANSLATIONS[torch.ops.aten._grouped_mm.default]
    assert found is onnx_experts.grouped_product


class _Shaped:
    def __init__(self, *shape: int) -> None:
        self.shape = shape


def test_other_forms_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="one matrix an expert"):
        onnx_experts.grouped_product(_Shaped(3, 2, 4), _Shaped(3, 4, 5), None)
