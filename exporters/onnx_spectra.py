"""Waves from spectrograms in ONNX: ``istft`` in operators that onnxruntime runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

ISTFT = torch.ops.aten.istft.default


def waves_written_out(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with every ``istft`` replaced by :func:`waves`; itself where it has none.

    What torch.onnx makes of it adds frame by frame, in numbers of a type that onnxruntime refuses.
    """
    if not program.graph.find_nodes(op="call_function", target=ISTFT):
        return program
    table: dict[Any, Callable[..., Any]] = {ISTFT: waves}
    written_out: torch.export.ExportedProgram = program.run_decompositions(table)
    return written_out


def waves(  # noqa: PLR0913 - the arguments of torch.istft
    spectrogram: Tensor,
    n_fft: int,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    normalized: bool = False,
    onesided: bool | None = None,
    length: int | None = None,
    return_complex: bool = False,
) -> Tensor:
    """``torch.istft``: frames back in time, windowed, summed where they overlap.

    Args:
        spectrogram: complex, (…, frequencies, frames), of one leading dimension or none.
        n_fft: points of a frame.
        hop_length: points between frames; None: a quarter of ``n_fft``.
        win_length: points of the window; None: ``n_fft``.
        window: real; None: ones.
        center: frames lie around their points; half a frame goes at each end.
        normalized: the spectrogram was divided by the root of ``n_fft``.
        onesided: whether the frequencies end at half; torch too reads no others.
        length: points of the result; None: all that the frames cover.
        return_complex: must be False, as for every real wave.

    Raises:
        NotImplementedError: ``return_complex`` is set; exporters say that ONNX cannot have it.
    """
    del onesided
    if return_complex:
        raise NotImplementedError("istft with return_complex=True")
    hop = n_fft // 4 if hop_length is None else hop_length
    frames = spectrogram if spectrogram.dim() == 3 else spectrogram[None]
    half = n_fft // 2 + 1
    if frames.shape[1] > half:  # a slice of all would be an alias, which ONNX lacks for complex
        frames = frames[:, :half]
    pieces = torch.fft.irfft(frames, n_fft, dim=1)
    if normalized:
        pieces = pieces * n_fft**0.5
    size = n_fft if win_length is None else win_length
    shape = pieces.new_ones(size) if window is None else window
    left = (n_fft - size) // 2
    shape = functional.pad(shape, (left, n_fft - size - left))[None, :, None]
    covered = n_fft + hop * (frames.shape[2] - 1)
    start = n_fft // 2 if center else 0
    end = covered - start if length is None else min(covered, start + length)
    many = shape.square().expand(1, n_fft, frames.shape[2])
    summed = _overlapped(pieces * shape, covered, hop)[:, start:end]
    wave = summed / _overlapped(many, covered, hop)[:, start:end]
    if length is not None and length > end - start:
        wave = functional.pad(wave, (0, length - (end - start)))
    return wave if spectrogram.dim() == 3 else wave[0]


def _overlapped(pieces: Tensor, covered: int, hop: int) -> Tensor:
    """Pieces (batch, points, pieces) added at their places: (batch, ``covered``)."""
    summed = functional.fold(pieces, (1, covered), (1, pieces.shape[1]), stride=(1, hop))
    return summed[:, 0, 0]
