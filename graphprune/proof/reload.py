"""Running a saved model in a fresh process that cannot import the classes it came from."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.errors import CertificateError, ModelError
from graphprune.graph.operators import foreign_calls, home_of, import_root
from graphprune.graph.trees import Inputs, tensor_leaves
from graphprune.graph.values import source_line
from graphprune.io.text import one_line
from graphprune.rules.plugins import imported_rules

_SCRIPT = Path(__file__).with_name("reload_check.py")
_TIMEOUT = 1800.0


def operator_modules(module: fx.GraphModule) -> dict[str, Path]:
    """Modules that a fresh process must import for a graph's operators, and where each is found.

    Empty for graphs of torch's own operators. A rules module that was named with ``--rules`` stands
    in for operators whose own module is not known.

    Raises:
        ModelError: an operator would not exist in a fresh process.
    """
    found: dict[str, Path] = {}
    for operator, node in foreign_calls(module).items():
        home = home_of(operator)
        names = (home,) if home else tuple(imported_rules())
        roots = {name: root for name in names if (root := import_root(name)) is not None}
        if not roots:
            line = source_line(node)
            raise ModelError(
                f"operator {operator}{f' ({line})' if line else ''} is not known to come from a "
                f"module that can be imported{f' (but from {home})' if home else ''}, so a saved "
                "model could not be reloaded; define it with torch.library.custom_op in a module "
                "of its own"
            )
        found |= roots
    return found


def require_reloadable(module: fx.GraphModule) -> None:
    """Refuse a graph that no other process could run; see :func:`operator_modules`.

    Raises:
        ModelError: it calls an operator that cannot be found again, or returns a string, which
            torch.export writes and cannot read.
    """
    operator_modules(module)
    for leaf in pytree.tree_leaves(module.graph.output_node().args):
        if isinstance(leaf, str):
            raise ModelError(
                f"the model returns the string {leaf!r}, which a .pt2 file cannot hold; "
                "return tensors, numbers and None, or use result.model as it is"
            )


def reloaded_outputs(
    path: str | Path,
    inputs: Sequence[Inputs],
    *,
    modules: Mapping[str, Path] | None = None,
    timeout: float = _TIMEOUT,
) -> list[list[torch.Tensor]]:
    """Outputs of the model in a ``.pt2`` file, computed by ``reload_check.py`` in a new process.

    Args:
        path: a file written by :func:`graphprune.exporters.pt2.save_pt2`.
        inputs: the calls to make; their tensors travel as safetensors.
        modules: to import first, see :func:`operator_modules`.
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
        command += [f"{name}={root}" for name, root in (modules or {}).items()]
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
