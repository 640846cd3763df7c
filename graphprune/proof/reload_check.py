"""Script: load a ``.pt2`` in a process of its own and run it on saved inputs.

Run by :mod:`graphprune.proof.reload` with ``python -I``. Before torch is imported, a guard makes
every module look absent that belongs neither to Python's library nor to graphprune and the
distributions it depends on; so the model's own class cannot be what makes it work. Only the modules
that define operators of other libraries are imported before, where the graph calls any.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

# Modules written by installers: the finder of an editable install, Python's own build settings.
_GENERATED = ("__editable__", "_sysconfigdata")
_ROOT = Path(__file__).resolve().parents[2]


class DependenciesOnly:
    """A finder of ``sys.meta_path`` that finds nothing but the allowed top-level names.

    Others are not found, as if they were not installed, rather than refused: torch asks for
    optional modules and goes on without them.
    """

    def __init__(self, finder: Any, allowed: frozenset[str]) -> None:
        self._finder = finder
        self._allowed = allowed

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the finder gives for an allowed name, else None."""
        top = fullname.partition(".")[0]
        if top not in self._allowed and not top.startswith(_GENERATED):
            return None
        spec: ModuleSpec | None = self._finder.find_spec(fullname, path, target)
        return spec

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)  # find_distributions, invalidate_caches


def allowed_modules() -> frozenset[str]:
    """Top-level names of Python's library, graphprune and everything it depends on."""
    found = _closure(_dependencies())
    owners = importlib.metadata.packages_distributions()
    tops = {top for top, dists in owners.items() if found & {_normal(dist) for dist in dists}}
    return frozenset({"graphprune", "__main__", *tops, *sys.stdlib_module_names})


def _dependencies() -> list[str]:
    """What graphprune requires, also where it runs from a source tree without being installed."""
    try:
        return importlib.metadata.requires("graphprune") or []
    except importlib.metadata.PackageNotFoundError:
        project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        return [str(line) for line in project["project"]["dependencies"]]


def _closure(requirements: list[str]) -> frozenset[str]:
    """Names of the installed distributions that these requirements need; extras left out."""
    pending, found = list(requirements), set()
    while pending:
        line = pending.pop()
        name = _normal(re.split(r"[^\w.-]", line, maxsplit=1)[0])
        if name in found or "extra ==" in line:
            continue
        found.add(name)
        try:
            pending += importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
    return frozenset(found)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _run(path: str, calls: int, request: str, response: str) -> None:
    import safetensors.torch
    import torch

    from graphprune.exporters.pt2 import load_pt2
    from graphprune.graph.chance import same_chance
    from graphprune.graph.state import state_kept
    from graphprune.graph.trees import replace_tensors, tensor_leaves
    from graphprune.proof.reload import unpack

    module, captured = load_pt2(path)
    outputs = {}
    with torch.no_grad():
        for call, tensors in enumerate(unpack(safetensors.torch.load_file(request), calls)):
            args, kwargs = replace_tensors((captured.args, captured.kwargs), tensors)
            with state_kept(module), same_chance():
                leaves = tensor_leaves(module(*args, **kwargs))
                for index, leaf in enumerate(leaves):  # one of them may be a buffer
                    outputs[f"{call}.{index}"] = leaf.contiguous().clone()
    safetensors.torch.save_file(outputs, response)


def main(arguments: Sequence[str]) -> None:
    """Guard imports, then run: path, number of calls, inputs, outputs, threads, module=folder …."""
    path, calls, request, response, threads, *modules = arguments
    if importlib.util.find_spec("graphprune") is None:
        sys.path.append(str(_ROOT))
    for name, _, folder in (item.partition("=") for item in modules):
        sys.path.append(folder)
        importlib.import_module(name)
    allowed = allowed_modules()
    sys.meta_path[:] = [DependenciesOnly(finder, allowed) for finder in sys.meta_path]

    import torch

    torch.set_num_threads(int(threads))
    _run(path, int(calls), request, response)


if __name__ == "__main__":
    main(sys.argv[1:])
