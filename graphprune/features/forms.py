"""How activations are drawn: by how many dimensions there are and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from graphprune.features.result import Activation

_MOST_TILES = 16

Grid = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Form:
    """What is drawn of an activation.

    Attributes:
        kind: ``number``, ``line`` (positions behind the channels' dimension, as of a signal),
            ``strip`` (positions in front of it, as of tokens), ``map``, or ``nothing`` (an expert
            that the input does not reach).
        values: float, 0-D, 1-D, 1-D, 2-D or empty.
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
    if not values.size:
        return Form("nothing", values.reshape(-1), "no values for some of the inputs")
    if values.ndim == 3 and activation.places == 1 and len(values) <= _MOST_TILES:
        words.append(f"for each of the {len(values)} places along {dims.pop(0)}")
        words.insert(0, f"{_downwards(values.shape[1:], dims)}")
        return Form("map", _tiled(values), ", ".join(words))
    while values.ndim > 2:
        middle = values.shape[0] // 2
        words.append(f"slice {middle + 1} of {values.shape[0]} along {dims.pop(0)}")
        values = values[middle]
    if values.ndim == 0:
        return Form("number", values, "one number for each example")
    alone = values.ndim == 1 or (activation.places == 1 and len(values) <= _MOST_TILES)
    if grid is not None and alone and values.shape[-1] == positions_of(grid):
        return _grid_form(values, dims, grid)
    if values.ndim == 2:
        words.insert(0, _downwards(values.shape, dims))
        return Form("map", values, ", ".join(words))
    kind = "line" if activation.inner else "strip"
    return Form(kind, values, f"{len(values)} positions of {dims[0]}, from left to right")


def positions_of(grid: Grid) -> int:
    """How many positions a row has that is drawn as this grid."""
    return grid[0] + grid[1] * grid[2]


def _grid_form(values: np.ndarray, dims: list[str], grid: Grid) -> Form:
    """Positions as the grid that the user says they are; several rows of them side by side."""
    extra, height, width = grid
    words = f"the positions of {dims[-1]} as a grid of {height} × {width}"
    if extra:
        words += f" without the first {extra} of {values.shape[-1]}"
    if values.ndim == 2:
        words += f", for each of the {len(values)} places along {dims[0]}"
    return Form("map", _tiled(values[..., extra:].reshape(-1, height, width)), words)


def _downwards(shape: Sequence[int], dims: Sequence[str]) -> str:
    return f"{shape[0]} × {shape[1]}: {dims[0]} downwards, {dims[1]} to the right"


def _tiled(maps: np.ndarray) -> np.ndarray:
    """Maps (n, H, W) in one, row by row, with lines of NaN between them."""
    rows = next(n for n in range(len(maps), 0, -1) if len(maps) % n == 0 and n * n <= len(maps))
    columns = len(maps) // rows
    framed = np.pad(maps, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    lines = [np.concatenate(list(framed[n : n + columns]), 1) for n in range(0, len(maps), columns)]
    found: np.ndarray = np.concatenate(lines)[:-1, :-1]
    return found


def input_form(values: np.ndarray) -> Form | None:
    """How an example's input is drawn; None where it is to be put into words.

    Two dimensions are drawn as they are. A colour image has three channels, in front of or behind
    two larger dimensions.
    """
    if values.dtype.kind not in "fu":  # floats, and bytes as images have them
        return None
    squeezed = values.reshape([size for size in values.shape if size != 1])
    if squeezed.ndim == 1 and squeezed.size > 1:
        return Form("line", squeezed, f"{squeezed.size} values")
    if squeezed.ndim == 2:
        return Form("map", squeezed, " × ".join(map(str, squeezed.shape)) + " values")
    if squeezed.ndim == 3 and squeezed.shape[0] == 3 and min(squeezed.shape[1:]) > 3:
        return Form("map", np.moveaxis(squeezed, 0, -1), "colour image")
    if squeezed.ndim == 3 and squeezed.shape[2] == 3 and min(squeezed.shape[:2]) > 3:
        return Form("map", squeezed, "colour image")
    return None
