"""Waves from spectrograms as ONNX, against torch.istft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.capturing.capture import capture
from graphprune.exporters.onnx import export_onnx
from graphprune.exporters.onnx_spectra import waves, waves_written_out
from graphprune.proof.compare import max_relative_error
from graphprune.proof.onnxrun import OnnxModel

SETTINGS: dict[str, dict[str, Any]] = {
    "windowed": {"hop_length": 8, "window": torch.hann_window(32)},
    "short window": {"win_length": 24, "window": torch.hann_window(24)},
    "a hop by default, normalised": {"normalized": True, "window": torch.ones(32)},
    "both sides": {"hop_length": 16, "window": torch.ones(32), "onesided": False},
    "edges": {"hop_length": 8, "window": torch.hamming_window(32), "center": False},
}


@pytest.mark.filterwarnings("ignore:The length of signal")
@pytest.mark.parametrize("length", [None, 150, 205])
@pytest.mark.parametrize("name", SETTINGS)
def test_written_out_equals_torch(name: str, length: int | None) -> None:
    settings = SETTINGS[name]
    spectrum = torch.stft(torch.randn(2, 200), 32, **settings, return_complex=True)
    spectrum = spectrum * torch.rand(spectrum.shape)
    for given in (spectrum, spectrum[0]):
        expected = torch.istft(given, 32, **settings, length=length)
        torch.testing.assert_close(waves(given, 32, **settings, length=length), expected)


class _Separated(nn.Module):
    """Scales a spectrogram by its size and goes back to the wave."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(32))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.stft(x, 32, 8, window=self.window, return_complex=True)
        scaled = torch.view_as_real(spectrum) * spectrum.abs()[..., None]
        spectrum = torch.view_as_complex(scaled)
        return torch.istft(spectrum, 32, 8, window=self.window, length=x.shape[1])


def test_onnx_equals_torch_for_any_batch(tmp_path: Path) -> None:
    model = _Separated().eval()
    export_onnx(capture(model, torch.randn(2, 96)), tmp_path / "model.onnx")
    for batch in (2, 5):
        x = torch.randn(batch, 96)
        actual = OnnxModel(tmp_path / "model.onnx")(((x,), {}))
        assert max_relative_error(actual, [model(x)]) < 1e-5


def test_nothing_is_cut_off_a_spectrum_that_ends_at_half() -> None:
    """Where shapes are free, such a cut becomes an alias, which ONNX lacks for complex numbers."""
    program = torch.export.export(_Separated().eval(), (torch.randn(2, 96),))
    values = [
        (node.target, node.meta.get("val")) for node in waves_written_out(program).graph.nodes
    ]
    complex_ = {target for target, v in values if isinstance(v, Tensor) and v.is_complex()}
    aten = torch.ops.aten
    assert aten.view_as_complex.default in complex_
    assert not complex_ & {aten.slice.Tensor, aten.alias.default}
