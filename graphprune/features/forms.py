"""How activations are drawn: by how many dimensions there are and where they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphprune.features.result import Activation

Grid = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Form:
    """What is drawn of an activation.

    Attributes:
        kind: ``number``, ``line`` (positions behind the channels' dimension, as of a signal),
            ``strip`` (positions in front of it, as of tokens) or ``map``.
        values: float, 0-D, 1-D, 1-D or 2-D.
        words: what the picture shows, for people.
    """

    kind: str
    values: np.ndarray
    words: str


def form_of(activation: Activation, grid: Grid | None = None) -> Form:
    """The form of an activation; of three and more dimensions a slice through the middle.

    Args:
        activation: what was seen.
        grid: see :class:`graphprune.features.FeatureConfig.token_grid`.
    """
    values, dims, words = activation.values, list(activation.dims), []
    while values.ndim > 2:
        middle = values.shape[0] // 2
        words.append(f"slice {middle + 1} of {values.shape[0]} along {dims.pop(0)}")
        values = values[middle]
    if values.ndim == 0:
        return Form("number", values, "one number for each example")
    if grid is not None and values.shape[-1] == grid[0] + grid[1] * grid[2]:
        return _grid_form(values, dims, grid)
    sizes = " × ".join(map(str, values.shape))
    if values.ndim == 2:
        words.insert(0, f"{sizes}: {dims[0]} downwards, {dims[1]} to the right")
        return Form("map", values, ", ".join(words))
    kind = "line" if activation.inner else "strip"
    return Form(kind, values, f"{len(values)} positions of {dims[0]}, from left to right")


def _grid_form(values: np.ndarray, dims: list[str], grid: Grid) -> Form:
    """Positions as the grid that the user says they are; several rows of them side by side."""
    extra, height, width = grid
    words = f"the positions of {dims[-1]} as a grid of {height} × {width}"
    if extra:
        words += f" without the first {extra} of {values.shape[-1]}"
    if values.ndim == 2:
        words += f", one for each of the {len(values)} places along {dims[0]} side by side"
    tokens = np.atleast_2d(values)[:, extra:].reshape(-1, height, width)
    return Form("map", np.concatenate(list(tokens), axis=1), words)


def input_form(values: np.ndarray) -> Form | None:
    """How an example's input is drawn; None where it is to be put into words.

    An image has one or three channels, in front of or behind two larger dimensions.
    """
    if values.dtype.kind not in "fu" and values.dtype != np.uint8:
        return None
    squeezed = values.reshape([size for size in values.shape if size != 1])
    if squeezed.ndim == 1 and squeezed.size > 1:
        return Form("line", squeezed, f"{squeezed.size} values")
    if squeezed.ndim == 2:
        return Form("map", squeezed, "grey image") if min(squeezed.shape) > 3 else None
    if squeezed.ndim == 3 and squeezed.shape[0] == 3 and min(squeezed.shape[1:]) > 3:
        return Form("map", np.moveaxis(squeezed, 0, -1), "colour image")
    if squeezed.ndim == 3 and squeezed.shape[2] == 3 and min(squeezed.shape[:2]) > 3:
        return Form("map", squeezed, "colour image")
    return None
