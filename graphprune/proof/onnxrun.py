"""Running an ONNX file with onnxruntime on the CPU, tensors in and tensors out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from graphprune.errors import CertificateError
from graphprune.graph.trees import Inputs, tensor_leaves
from graphprune.io.text import reason

_SILENT = 4


class OnnxModel:
    """An onnxruntime session over a file.

    ``threads`` is the number of threads within an operator; None: what PyTorch uses. With
    ``as_written``, tensors that the file rounds to integers and back are computed so; else
    onnxruntime may use its integer kernels for what lies between, which round otherwise.
    """

    def __init__(
        self, path: str | Path, threads: int | None = None, *, as_written: bool = False
    ) -> None:
        """Raises CertificateError if onnxruntime refuses the file."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _SILENT
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        if as_written:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise CertificateError(
                f"{Path(path).name}: onnxruntime cannot load it: {reason(error)}"
            ) from error
        self.path = Path(path)
        self.input_names: list[str] = [item.name for item in self._session.get_inputs()]

    def feed(self, inputs: Inputs) -> dict[str, Any]:
        """The tensors of a call as the arrays that the session takes.

        Raises:
            CertificateError: the file takes another number of tensors.
        """
        leaves = tensor_leaves(inputs)
        if len(leaves) != len(self.input_names):
            raise CertificateError(
                f"{self.path.name} takes {len(self.input_names)} inputs, "
                f"but the model takes {len(leaves)} tensors"
            )
        arrays = [leaf.detach().cpu().contiguous().numpy() for leaf in leaves]
        return dict(zip(self.input_names, arrays, strict=True))

    def run(self, feed: dict[str, Any]) -> list[Any]:
        """The outputs as numpy arrays, for timing."""
        outputs: list[Any] = self._session.run(None, feed)
        return outputs

    def __call__(self, inputs: Inputs) -> list[torch.Tensor]:
        """The outputs for ``(args, kwargs)``, in the order in which the model's outputs flatten.

        Raises:
            CertificateError: onnxruntime fails on them.
        """
        feed = self.feed(inputs)
        try:
            outputs = self.run(feed)
        except Exception as error:
            raise CertificateError(
                f"{self.path.name}: onnxruntime fails on inputs that PyTorch runs: {reason(error)}"
            ) from error
        return [torch.from_numpy(array.copy()) for array in outputs]
