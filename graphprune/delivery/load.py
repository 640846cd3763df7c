"""``graphprune.load``: the small model back from the folder that ``compress`` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar, overload

from torch import nn

from graphprune.delivery.load_into import load_into
from graphprune.errors import ModelError
from graphprune.exporters.output_folder import PARTS
from graphprune.exporters.pt2 import load_pt2
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.io.text import few

Own = TypeVar("Own", bound=nn.Module)


@overload
def load(folder: str | Path, into: None = None) -> TrainableGraphModule: ...
@overload
def load(folder: str | Path, into: Own) -> Own: ...


def load(folder: str | Path, into: nn.Module | None = None) -> nn.Module:
    """The compressed model, in evaluation mode, ready to run or to train on.

    By itself it is a graph, whose parameters have the names that they had in the original model:
    no class of the original is needed. With ``into`` an instance of that class is shrunk in place,
    gets the weights of the folder and is proved equal to the graph, as ``result.into`` does; of a
    model compressed in parts each part is so, and what lies outside of the parts gets its weights
    from the folder too. Nothing is unpickled.

    Args:
        folder: that compress wrote.
        into: an instance of the class that was compressed, with its original sizes and any
            weights. What is neither parameter nor saved buffer stays its own outside of parts.

    Returns:
        A graph, or ``into`` itself.

    Raises:
        ModelError: the folder has no readable ``model.pt2``; that of a model compressed in parts
            has one for each part, so it can be loaded with ``into`` alone.
        UsageError: ``into`` is no such instance, or its forward does not fit; it is unchanged.
        CertificateError: the files contradict each other.
    """
    place = Path(folder)
    file = place / "model.pt2" if place.is_dir() or into is not None else place
    in_parts = not file.exists() and (place / PARTS).is_dir()
    if in_parts and into is None:
        parts = few(sorted(path.name for path in (place / PARTS).iterdir()))
        raise ModelError(
            f"{place} was compressed in parts ({parts}), without the class that they belong to; "
            "call graphprune.load(folder, into=model) with an instance of it"
        )
    if not file.exists() and not in_parts:
        raise ModelError(f"{place}: has no model.pt2; give the folder that compress wrote")
    if into is None:
        return load_pt2(file)[0]
    load_into(place, into)
    return into
