"""What the cut cost on the held-out data, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from graphprune.training.evaluate import loss_of

WORTH_MENDING = 0.01
"""Accuracy lost in the cut, of 1, from which on the user is told what wins it back."""

_NOT_FINITE = (
    "the loss of the small model on the held-out data is {value}, so the report gives none: it "
    "answers what the loss cannot take; leave more to stay, try --reconstruct, or give a loss that "
    "takes any answer"
)


def damage(evaluations: Mapping[str, Mapping[str, float]], changed: bool) -> list[str]:
    """Lines for the user about the small model's figures.

    Args:
        evaluations: figures of ``dense`` and ``pruned`` (:func:`evaluate`); none without data.
        changed: whether the weights that stay were fitted, trained or re-estimated already.
    """
    before, after = (evaluations.get(name, {}) for name in ("dense", "pruned"))
    notes = []
    if after and loss_of(after) is None:
        notes.append(_NOT_FINITE.format(value=after.get("loss", after.get("distance"))))
    cost = "" if changed else _cost(before, after)
    if cost:
        notes.append(
            f"the cut {cost}: --reconstruct (seconds, no labels needed) or --finetune-epochs can "
            "win them back"
        )
    return notes


def _cost(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """What was lost, "" where it is too little to speak of."""
    if "accuracy" in before and "accuracy" in after:
        lost = before["accuracy"] - after["accuracy"]
        return f"cost {100 * lost:.1f} points of accuracy" if lost >= WORTH_MENDING else ""
    return ""
