"""Numbers as small pictures: PNG data URIs and inline SVG, all on one scale."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from PIL import Image

MOST_POINTS = 128
"""Positions along a row; of a longer one neighbours are averaged."""

# Below zero blue, zero near white, above zero red (ColorBrewer's RdBu); without negative values
# from dark to bright (viridis).
_SIGNED = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))
_POSITIVE = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_CLEAR = 255  # number of the colour that is none
_OUTLIERS = 0.5  # percent at each end that may lie beyond the scale
_FEW = 1000  # of so few values none does


@dataclass(frozen=True)
class Scale:
    """What the colours and the heights of a group's pictures mean.

    Attributes:
        high: value of the last colour, positive.
        signed: whether the first colour is -high, and zero in the middle; else it is 0.
    """

    high: float
    signed: bool

    @classmethod
    def of(cls, arrays: list[np.ndarray]) -> Scale:
        """One scale for all of them; one value in a hundred at most lies beyond it."""
        values = np.concatenate([array.reshape(-1) for array in arrays] or [np.zeros(1)])
        values = values[np.isfinite(values)].astype(np.float64)
        if not values.size:
            return cls(1.0, signed=False)
        outliers = _OUTLIERS if values.size > _FEW else 0.0
        low, high = np.percentile(values, (outliers, 100 - outliers))
        if max(abs(low), abs(high)) == 0:
            low, high = values.min(), values.max()
        return cls(float(max(abs(low), abs(high))) or 1.0, signed=bool(values.min() < 0))

    @property
    def low(self) -> float:
        """Value of the first colour."""
        return -self.high if self.signed else 0.0

    def share(self, values: np.ndarray) -> np.ndarray:
        """Places on the scale, 0 to 1, NaN for what is not a number."""
        shares = (values.astype(np.float64) - self.low) / (self.high - self.low)
        found: np.ndarray = np.clip(shares, 0, 1)
        return found

    @property
    def palette(self) -> bytes:
        """Red, green and blue of 255 colours, and of the one that is none."""
        anchors = np.array(_SIGNED if self.signed else _POSITIVE, dtype=np.float64)
        at = np.linspace(0, len(anchors) - 1, _CLEAR)
        rgb = [np.interp(at, np.arange(len(anchors)), anchors[:, part]) for part in range(3)]
        return np.stack(rgb, axis=1).round().astype(np.uint8).tobytes() + bytes(3)

    def legend(self) -> str:
        """The colours from first to last, an ``<img>``."""
        colours = np.linspace(self.low, self.high, 256)[None]
        return f'<img class="ramp" alt="" src="{colour_map(colours, self, 256)}">'


def colour_map(values: np.ndarray, scale: Scale, side: int) -> str:
    """A 2-D array as PNG data URI, a pixel for each element; sides above ``side`` are averaged.

    What is not a number is transparent.
    """
    shares = scale.share(reduced(values, (side, side))) * (_CLEAR - 1)
    numbers = np.where(np.isnan(shares), _CLEAR, shares.round())
    picture = Image.fromarray(numbers.astype(np.uint8))
    picture.putpalette(scale.palette)
    return _uri(picture, transparency=_CLEAR)


def photograph(values: np.ndarray, side: int) -> str:
    """An image (H, W) or (H, W, 3), stretched from its least to its greatest value, as data URI."""
    values = np.nan_to_num(values.astype(np.float64))
    planes = np.moveaxis(np.atleast_3d(values), -1, 0)
    small = np.stack([reduced(plane, (side, side)) for plane in planes], axis=-1)
    low, high = small.min(), small.max()
    pixels = ((small - low) / ((high - low) or 1.0) * 255).round().astype(np.uint8)
    return _uri(Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels))


def line(values: np.ndarray, scale: Scale, label: str) -> str:
    """A 1-D signal as SVG, from the scale's first value at the bottom to its last at the top."""
    values = np.nan_to_num(reduced(values[None], (1, MOST_POINTS))[0])
    heights = 40 * (1 - scale.share(values))
    steps = np.linspace(0, 96, len(heights)) if len(heights) > 1 else np.array([48.0])
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(steps, heights, strict=True))
    zero = 40 * (1 - scale.share(np.zeros(1))[0])
    return (
        f'<svg class="line" viewBox="0 0 96 40" role="img" aria-label="{escape(label)}">'
        f'<path class="zero" d="M0 {zero:.1f}H96"/><polyline points="{points}"/></svg>'
    )


def bar(value: float, scale: Scale, label: str) -> str:
    """One number as SVG: a bar from zero."""
    ends = 96 * scale.share(np.nan_to_num(np.array([0.0, value])))
    left, right = float(ends.min()), float(ends.max())
    sign = "below" if value < 0 else "above"
    return (
        f'<svg class="bar" viewBox="0 0 96 16" role="img" aria-label="{escape(label)}">'
        f'<rect class="{sign}" x="{left:.1f}" y="2" width="{right - left:.1f}" height="12"/>'
        f'<path class="zero" d="M{ends[0]:.1f} 0V16"/></svg>'
    )


def reduced(values: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """A 2-D array with sides of at most so many elements: means of neighbours if it is larger."""
    new = min(values.shape[0], sides[0]), min(values.shape[1], sides[1])
    if new == values.shape:
        return values
    tensor = torch.from_numpy(np.nan_to_num(values.astype(np.float64)))[None]
    found: np.ndarray = torch.nn.functional.adaptive_avg_pool2d(tensor, new)[0].numpy()
    return found


def _uri(picture: Image.Image, **options: int) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
