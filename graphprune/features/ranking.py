"""A group's importance as a chart: a bar for each channel, and a whisker where it is uncertain."""

from __future__ import annotations

import numpy as np

from graphprune.features.result import GroupFeatures
from graphprune.importance.credibility import LEVEL

_WIDTH, _HEIGHT = 320, 40


def importance_chart(group: GroupFeatures) -> str:
    """All channels' importance as bars in order, those shown marked, and a line of words."""
    ranking = np.argsort(-group.importance, kind="stable")
    order = np.nan_to_num(group.importance[ranking])
    bounds = _bounds(group)[:, ranking]
    low = min(0.0, float(order.min()), float(np.nanmin(bounds, initial=0.0)))
    high = max(0.0, float(order.max()), float(np.nanmax(bounds, initial=0.0)))

    def down(value: float) -> float:
        return _HEIGHT * (1 - (value - low) / ((high - low) or 1.0))

    width = _WIDTH / len(order)
    shown = {channel.number for channel in (*group.most, *group.least)}
    marks = []
    for place, number in enumerate(ranking.tolist()):
        top, zero = down(float(order[place])), down(0.0)
        kind = "shown" if number in shown else "rest"
        marks.append(
            f'<rect class="{kind}" x="{place * width:.2f}" y="{min(top, zero):.1f}" '
            f'width="{width:.2f}" height="{abs(zero - top):.1f}"/>'
        )
        if np.isfinite(bounds[:, place]).all():
            least, most = (down(float(value)) for value in bounds[:, place])
            marks.append(
                f'<path class="whisker" d="M{(place + 0.5) * width:.2f} {least:.1f}V{most:.1f}"/>'
            )
    label = f"importance of all {len(order)} channels in order, from {order[0]:.4g} to "
    label += f"{order[-1]:.4g}"
    under = "each picture's head gives rank and importance"
    if group.intervals is not None:
        label += f", lines are {LEVEL:.0%} intervals"
        under += ", with the interval"
    return (
        f'<svg class="rank" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">{"".join(marks)}</svg>\n'
        f'<p class="soft">{label[0].upper()}{label[1:]}; those shown in colour; {under}.</p>'
    )


def _bounds(group: GroupFeatures) -> np.ndarray:
    """Least and greatest importance of all channels, (2, size); nan where it is not known."""
    bounds = np.full((2, len(group.importance)), np.nan)
    if group.intervals is not None:
        bounds[:, : group.intervals.shape[1]] = group.intervals
    return bounds
