"""How sure a ranking is: whether credible intervals tell the channels that go from those that stay.

The Dirichlet Pruning paper leaves the use of the posterior's uncertainty as future work (section
3.4). Here two channels count as told apart where their intervals do not overlap.
"""

from __future__ import annotations

import numpy as np
import torch

from graphprune.io.text import counted, few

LEVEL = 0.9
"""Probability that the importance of a channel lies within its interval."""

INDISTINCT = 0.15
"""Below this share of pairs told apart a ranking is said not to be told from chance.

Where channels differ by chance alone 0.04 are on average, and less than 0.15 nineteen times of
twenty, in groups of 16 of which half go (by simulation): those that came out last are compared with
the first. Where nearly all of a wide group stay it is seven to eight times of ten.
"""


def separated(intervals: torch.Tensor, kept: np.ndarray) -> float | None:
    """Share of pairs (a channel that goes, one that stays) whose intervals do not overlap.

    Args:
        intervals: least and greatest importance of each channel, (2, D).
        kept: whether each channel stays, bool (D,).

    Returns:
        In [0, 1]; None where all channels stay or all go.
    """
    low, high = intervals.double().numpy()
    gone, stays = high[~kept], np.sort(low[kept])
    if not gone.size or not stays.size:
        return None
    above = stays.size - np.searchsorted(stays, gone, side="right")
    return float(above.mean() / stays.size)


def certainty(method: str, *, known: bool, halves: bool) -> str:
    """What a report says of its importances: that they have intervals, or plainly that they do not.

    Args:
        method: that channels were ranked by.
        known: whether it gave intervals.
        halves: whether switches were learned from two halves of the data.
    """
    if halves:
        return f"{method} gives {LEVEL:.0%} intervals of importance, from two halves of the data"
    if known:
        return (
            f"{method} gives {LEVEL:.0%} credible intervals of importance, by what it learned "
            "alone: they do not say what other data would show"
        )
    return (
        f"{method} gives no intervals: importance is one number for each channel, "
        "and nothing says how sure the ranking is"
    )


def certainty_by_halves(method: str) -> str:
    """What a report says of intervals that two halves of the data give a criterion."""
    return (
        f"{method} gives {LEVEL:.0%} intervals of what it measures, from two halves of the data: "
        "what others like them would show, not whether that is what matters"
    )


def learn_longer(steps: int) -> str:
    """What to do where too little was learned; passes alone would not say, for batches differ."""
    return f"learn for more than {steps:,} steps (--switch-epochs)"


def indistinct(shares: dict[str, float | None], steps: int) -> str:
    """One line that names the groups whose ranking cannot be told from chance, else "".

    Args:
        shares: what :func:`separated` gives, by group.
        steps: that the switches have learned for; 0 for a criterion.
    """
    found = [name for name, share in shares.items() if share is not None and share < INDISTINCT]
    if not found:
        return ""
    groups = f"{counted(len(found), 'channel group')} ({few(found)})"
    return (
        f"the ranking of {groups} cannot be told from chance: {LEVEL:.0%} intervals of channels "
        "that went and of channels that stayed overlap; "
        f"{learn_longer(steps) if steps else 'rank on more data'} or prune less"
    )
