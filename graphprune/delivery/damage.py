"""What the cut cost on the held-out data, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from graphprune.training.evaluate import loss_of

WORTH_MENDING = 0.01
"""Accuracy lost in the cut, of 1, from which on the user is told what wins it back."""

WORTH_MENDING_LOSS = 0.1
"""The same where there is no accuracy: rise of the loss, as a share of the original's own, for a
loss has no other scale. Held-out losses of equally good models differ by some percent."""

WORTH_MENDING_DISTANCE = 0.1
"""The same without labels: squared distance from the original's answers, as a share of their
variance. At 1 the small model would be as far off as one that always answers the mean."""

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
    cost, back = ("", "") if changed else _cost(before, after)
    if cost:
        notes.append(
            f"the cut {cost}: --reconstruct (seconds, no labels needed) or --finetune-epochs can "
            f"win {back} back"
        )
    return notes


def _cost(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, str]:
    """What was lost and a word for it, "" where it is too little to speak of."""
    if "accuracy" in before and "accuracy" in after:
        lost = before["accuracy"] - after["accuracy"]
        if lost >= WORTH_MENDING:
            return f"cost {100 * lost:.1f} points of accuracy", "them"
        return "", ""
    first, last = loss_of(before), loss_of(after)
    if first is None or last is None:
        return "", ""
    if "distance" in after and last >= WORTH_MENDING_DISTANCE:
        return f"left the answers off the original's by {last:.0%} of their variance", "much of it"
    if "loss" in after and last - first > WORTH_MENDING_LOSS * abs(first):
        return f"raised the loss from {first:.4g} to {last:.4g}", "much of it"
    return "", ""
