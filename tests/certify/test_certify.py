"""Each part of the certificate passes what is equal and fails what is not."""

from __future__ import annotations

import copy
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import small_models
import torch
from torch import nn

import graphprune.proof.reload
from graphprune.capturing.capture import Captured, capture
from graphprune.errors import CertificateError
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.pt2 import save_pt2
from graphprune.proof.certify import (
    Certificate,
    certify,
    certify_onnx,
    certify_reload,
    certify_shrink,
    independent_outputs,
)
from graphprune.proof.check_inputs import check_inputs
from graphprune.proof.fresh_inputs import fresh_inputs
from graphprune.proof.reload import reloaded_outputs


def _changed(captured: Captured, name: str) -> Captured:
    module = copy.deepcopy(captured.module)
    with torch.no_grad():
        module.get_parameter(name).view(-1)[0] += 1.0
    return replace(captured, module=module)


def test_all_three_parts_pass_on_equal_models(delivered: tuple[Captured, Path]) -> None:
    captured, folder = delivered
    certificate = certify(captured, copy.deepcopy(captured.module), folder)
    assert certificate.passed
    assert certificate.shrink_error == 0
    assert sorted(certificate.onnx_error) == [2, 3]
    assert certificate.reload_error is not None
    data = json.loads(json.dumps(certificate.to_json()))
    assert data["passed"] is True
    assert Certificate.from_json(data) == certificate


def test_a_certificate_without_a_comparison_has_not_passed() -> None:
    assert not Certificate(1e-4, "none").passed
    assert not Certificate(1e-4, "x", shrink_error=1e-5, onnx_error={2: 1e-3}).passed
    assert not Certificate(1e-4, "x", shrink_error=float("nan")).passed


@pytest.mark.parametrize("name", ["table.weight", "head.weight", "head.bias"])
def test_shrink_fails_on_any_changed_parameter(delivered: tuple[Captured, Path], name: str) -> None:
    captured, _ = delivered
    wrong = _changed(captured, name).module
    every_row = replace(captured, args=(torch.arange(11)[:, None].repeat(1, 7),))
    with pytest.raises(CertificateError, match=r"masked reference.*exceeds the limit 0\.0001"):
        certify_shrink(wrong, captured.module, check_inputs(every_row))


def test_shrink_refuses_a_constant_output() -> None:
    captured = small_models.traits()
    for name in ("first.weight", "first.bias"):
        nn.init.zeros_(captured.module.get_parameter(name))
    with pytest.raises(CertificateError, match=r"output\[0\] does not vary"):
        certify_shrink(captured.module, captured.module, check_inputs(captured))


def test_shrink_refuses_nan() -> None:
    captured = small_models.traits()
    nn.init.constant_(captured.module.get_parameter("first.bias"), float("nan"))
    with pytest.raises(CertificateError, match="NaN"):
        certify_shrink(captured.module, captured.module, check_inputs(captured))


def test_shrink_runs_modules_in_evaluation_mode() -> None:
    captured = small_models.traits()
    small = copy.deepcopy(captured.module).train()
    assert certify_shrink(small, captured.module, check_inputs(captured)) < 1e-6
    assert small.training


def test_outputs_that_no_input_reaches_are_known(delivered: tuple[Captured, Path]) -> None:
    assert independent_outputs(delivered[0].module) == {2}
    assert independent_outputs(lambda x: x) == set()


def test_what_an_input_is_written_into_depends_on_it() -> None:
    class Canvas(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            canvas = torch.zeros(x.shape[0], 4, 3)
            part = canvas[:, 1]
            before = canvas + 1
            canvas[:, :2] = x[:, :2]
            return canvas, part * 2, before

    captured = capture(Canvas(), torch.randn(2, 4, 3))
    assert independent_outputs(captured.module) == {2}


def test_onnx_fails_when_the_weights_differ(delivered: tuple[Captured, Path]) -> None:
    captured, folder = delivered
    with pytest.raises(CertificateError, match="onnxruntime against PyTorch at batch 2"):
        certify_onnx(_changed(captured, "head.bias"), folder / "model.onnx")


def test_onnx_with_a_fixed_batch_is_checked_at_that_batch(tmp_path: Path) -> None:
    captured = small_models.fixed_batch()
    export_onnx(captured, tmp_path / "model.onnx")
    assert certify_onnx(captured, tmp_path / "model.onnx").keys() == {4}


def test_onnx_with_a_batch_that_is_not_free_fails(tmp_path: Path) -> None:
    captured = small_models.tokens()
    static = replace(captured, batch_dims=(None,))
    export_onnx(static, tmp_path / "model.onnx")
    with pytest.raises(CertificateError, match="onnxruntime"):
        certify_onnx(captured, tmp_path / "model.onnx")


class _Bags(nn.Module):
    """Bags of words: one input holds words, another where each bag begins."""

    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.EmbeddingBag(50, 8)

    def forward(self, words: torch.Tensor, begins: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.bags(words, begins)
        return out


def test_integers_that_may_not_change_stay_while_others_do() -> None:
    torch.manual_seed(0)
    begins = torch.tensor([0, 4, 7])
    captured = capture(_Bags(), (torch.randint(0, 50, (12,)), begins))
    examples, *drawn = check_inputs(captured)
    assert all(torch.equal(args[1], begins) for args, _ in drawn)
    assert not any(torch.equal(args[0], examples[0][0]) for args, _ in drawn)


@pytest.mark.parametrize("content", [b"", b"not an onnx file", None])
def test_onnx_that_cannot_be_loaded_fails(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(CertificateError, match="cannot load") as caught:
        certify_onnx(small_models.tokens(), tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def test_reload_fails_when_the_file_holds_other_weights(
    delivered: tuple[Captured, Path], tmp_path: Path
) -> None:
    captured, folder = delivered
    save_pt2(_changed(captured, "head.bias"), tmp_path / "model.pt2")
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with pytest.raises(CertificateError, match="reloaded model against PyTorch"):
        certify_reload(tmp_path, captured)


def test_reload_of_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"PK\x03\x04 cut off")
    captured = small_models.tokens()
    with pytest.raises(CertificateError, match="fails in a fresh process") as caught:
        reloaded_outputs(tmp_path / "model.pt2", check_inputs(captured))
    assert "\n" not in str(caught.value)


def test_reload_stops_a_process_that_hangs(delivered: tuple[Captured, Path]) -> None:
    with pytest.raises(CertificateError, match=r"took more than 0\.01 s"):
        reloaded_outputs(delivered[1] / "model.pt2", check_inputs(delivered[0]), timeout=0.01)


def test_the_fresh_process_finds_dependencies_only(tmp_path: Path) -> None:
    (tmp_path / "users_model.py").write_text("class Net: ...\n", encoding="utf-8")
    script = Path(graphprune.proof.reload.__file__).with_name("reload_check.py")
    code = f"""
import importlib.util, runpy, sys
sys.path.insert(0, {str(tmp_path)!r})
import users_model; del sys.modules["users_model"]
names = runpy.run_path({str(script)!r}, run_name="reload_check")
allowed = names["allowed_modules"]()
sys.meta_path[:] = [names["DependenciesOnly"](f, allowed) for f in sys.meta_path]
import numpy, safetensors, json, colorsys
for name in ("users_model", "pytest", "hypothesis"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        assert importlib.util.find_spec(name) is None
    else:
        raise SystemExit(name + " was importable")
assert importlib.util.find_spec("torch") is not None
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert importlib.util.find_spec("pytest") is not None


def test_fresh_inputs_are_valid_seeded_and_of_the_size_asked_for() -> None:
    class Net(nn.Module):
        def forward(
            self, x: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor, keep: torch.Tensor
        ) -> torch.Tensor:
            return x * mask + ids * keep

    x, ids = torch.rand(3, 5), torch.randint(4, 9, (3, 5))
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]])
    keep = mask.bool().flip(1)
    captured = replace(capture(Net(), (x, ids, mask, keep)), args=(x, ids, mask, keep))
    for size in (None, 1, 7):
        (x2, ids2, mask2, keep2), _ = fresh_inputs(captured, seed=5, size=size)
        assert x2.shape == ids2.shape == mask2.shape == keep2.shape == (size or 3, 5)
        assert 0 <= float(x2.min()) <= float(x2.max()) <= 1
        assert 4 <= int(ids2.min()) <= int(ids2.max()) <= 8
        assert {tuple(row) for row in mask2.tolist()} <= {tuple(row) for row in mask.tolist()}
        assert {tuple(row) for row in keep2.tolist()} <= {tuple(row) for row in keep.tolist()}
    same, other = (fresh_inputs(captured, seed)[0][0] for seed in (5, 6))
    assert torch.equal(same, fresh_inputs(captured, 5)[0][0])
    assert not torch.equal(same, other)
