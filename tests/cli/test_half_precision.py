"""Half-precision weights cannot be proved in ONNX on a CPU: refused before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from graphprune import compress
from graphprune.errors import ModelError


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_save_refuses_half_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).to(dtype)
    result = compress(model, torch.randn(2, 8, dtype=dtype))
    with pytest.raises(ModelError, match=r"model\.float\(\)"):
        result.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()
