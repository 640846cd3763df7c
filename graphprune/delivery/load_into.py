"""The small model of a folder put into an instance of the user's own class."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from graphprune.errors import UsageError
from graphprune.exporters.output_folder import PARTS, WEIGHTS
from graphprune.into.apply import apply
from graphprune.into.rebuild import rebuild
from graphprune.into.state import SavedState
from graphprune.io.text import few
from graphprune.partial.observe import own_tensors
from graphprune.partial.putback import CLASS, place_graph, shrink_class
from graphprune.partial.report import PartialReport, PartRow, read_report
from graphprune.partial.verify import part_folders, whole_weights


def load_into(place: Path, model: nn.Module) -> None:
    """Make ``model`` the small model of a folder, in place and in evaluation mode.

    Args:
        place: the folder that compress wrote.
        model: an instance of the class that was compressed, as it was before.

    Raises:
        ModelError: a ``model.pt2`` cannot be read.
        UsageError: another file cannot be read, or the instance does not fit; it is unchanged.
        CertificateError: the files contradict each other.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"into is a {type(model).__name__}; give an instance of your nn.Module")
    saved = SavedState.take(model)
    try:
        if (place / PARTS).is_dir():
            _load_parts(place, model)
        else:
            apply(model, *rebuild(model, place))
        model.eval()
    except BaseException:
        saved.restore()
        raise


def _load_parts(place: Path, model: nn.Module) -> None:
    report = read_report(place / "report.json")
    if not isinstance(report, PartialReport):
        raise UsageError(f"{place / 'report.json'} names no parts; compress the model again")
    part_folders(report)
    weights = whole_weights(place / WEIGHTS)
    for row in report.parts:
        _place(model, row, place / row.folder)
    # Last, for contents are copied, which nothing puts back.
    _check_names(model, weights)
    model.load_state_dict(weights, strict=False)


def _place(model: nn.Module, row: PartRow, folder: Path) -> None:
    """Put one part back as it stood in the compressed model."""
    try:
        part = model.get_submodule(row.name)
    except AttributeError as error:
        raise UsageError(
            f"{type(model).__name__} has no {row.name}; "
            "give an instance of the class that was compressed"
        ) from error
    small, analysis = rebuild(part, folder)
    after = own_tensors(small.module)
    # What others may look at kept its size; the folder does not say which tensors these were.
    same = [n for n, t in own_tensors(part).items() if n not in after or after[n].shape == t.shape]
    if row.placed == CLASS:
        shrink_class(part, small, analysis, same)
    else:
        small.module.eval()
        place_graph(model, row.name, small, same)


def _check_names(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """The state of the model must be the saved one, name by name and size by size."""
    own = {n: t for n, t in model.state_dict().items() if isinstance(t, torch.Tensor)}
    odd = sorted(own.keys() ^ weights.keys()) or sorted(
        name
        for name, tensor in weights.items()
        if own[name].shape != tensor.shape or own[name].dtype != tensor.dtype
    )
    if odd:
        raise UsageError(
            f"{type(model).__name__} and {WEIGHTS} differ in {few(odd)}; "
            "give an instance of the class that was compressed, as it was before"
        )
