"""Running a saved model in a fresh process that cannot import the classes it came from."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from graphprune.errors import CertificateError
from graphprune.io.text import one_line
from graphprune.trees import Inputs, tensor_leaves

_SCRIPT = Path(__file__).with_name("reload_check.py")
_TIMEOUT = 1800.0


def reloaded_outputs(
    path: str | Path, inputs: Sequence[Inputs], *, timeout: float = _TIMEOUT
) -> list[list[torch.Tensor]]:
    """Outputs of the model in a ``.pt2`` file, computed by ``reload_check.py`` in a new process.

    Args:
        path: a file written by :func:`graphprune.exporters.pt2.save_pt2`.
        inputs: the calls to make; their tensors travel as safetensors.
        timeout: seconds after which the process is stopped.

    Returns:
        For each call the output's tensors in flattening order.

    Raises:
        CertificateError: the process fails; the message carries its last line.
    """
    with tempfile.TemporaryDirectory(prefix="graphprune-") as scratch:
        request, response = Path(scratch, "inputs.safetensors"), Path(scratch, "out.safetensors")
        safetensors.torch.save_file(_pack([tensor_leaves(one) for one in inputs]), request)
        command = [sys.executable, "-I", str(_SCRIPT), str(Path(path).resolve())]
        command += [str(len(inputs)), str(request), str(response), str(torch.get_num_threads())]
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CertificateError(
                f"reloading the saved model took more than {timeout:g} s; it was stopped"
            ) from error
        except OSError as error:
            raise CertificateError(f"the model cannot be reloaded: {one_line(error)}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise CertificateError(
                f"the saved model fails in a fresh process: {one_line(lines[-1], 300)}"
            )
        try:
            tensors = safetensors.torch.load_file(response)
        except (OSError, safetensors.SafetensorError) as error:
            raise CertificateError(
                f"the reloaded model gave no outputs: {one_line(error)}"
            ) from error
    return unpack(tensors, len(inputs))


def _pack(calls: list[list[torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {
        f"{call}.{index}": tensor.detach().cpu().contiguous().clone()
        for call, tensors in enumerate(calls)
        for index, tensor in enumerate(tensors)
    }


def unpack(tensors: dict[str, torch.Tensor], calls: int) -> list[list[torch.Tensor]]:
    """Inverse of the naming ``call.index``: a list of tensors for each call."""
    result: list[list[torch.Tensor]] = [[] for _ in range(calls)]
    for name in sorted(tensors, key=lambda text: tuple(map(int, text.split(".")))):
        result[int(name.partition(".")[0])].append(tensors[name])
    return result
