"""``graphprune.load``: the small model back from the folder that ``compress`` wrote."""

from __future__ import annotations

from pathlib import Path

from graphprune.errors import ModelError
from graphprune.exporters.output_folder import PARTS
from graphprune.exporters.pt2 import load_pt2
from graphprune.graph.graphmodule import TrainableGraphModule
from graphprune.io.text import few


def load(folder: str | Path) -> TrainableGraphModule:
    """The compressed model, in evaluation mode, ready to run or to train on.

    Its parameters have the names that they had in the original model. No class of the original
    is needed and nothing is unpickled.

    Raises:
        ModelError: the folder has no readable ``model.pt2``; that of a model compressed in parts
            has one for each part.
    """
    place = Path(folder)
    file = place / "model.pt2" if place.is_dir() else place
    if not file.exists() and (place / PARTS).is_dir():
        parts = few(sorted(path.name for path in (place / PARTS).iterdir()))
        raise ModelError(
            f"{place} was compressed in parts ({parts}), without the class that they belong to; "
            f"load {place / PARTS}/NAME and put it in the place of that part of your module, or "
            "compress from Python, where result.model is the whole"
        )
    if not file.exists():
        raise ModelError(f"{place}: has no model.pt2; give the folder that compress wrote")
    return load_pt2(file)[0]
