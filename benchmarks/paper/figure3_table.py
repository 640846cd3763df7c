"""Tables of figure 3: who won how often, and whether that could be chance."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.conditions import markdown_table

PAPERS_FORM = "dirichlet{variant=implicit,samples=5,scale=sum}"
DIRICHLET = ("mean", "implicit-5", "per-example", "mean-sum", PAPERS_FORM)
SETS: dict[str, tuple[str, ...]] = {
    # Seven, as in the figure: four kinds of Dirichlet switches beside its three comparators.
    "paper": ("mean", "implicit-5", "per-example", PAPERS_FORM, "l1", "l2", "fisher"),
    "all": (
        *(*DIRICHLET, "l1", "l2", "fisher", "taylor", "obd", "fpgm"),
        *("activation-mean", "activation-var", "random"),
    ),
}
BAR = 30
"""Characters of a bar of the whole pool."""

Errors = dict[str, np.ndarray]


def tables(records: list[dict[str, Any]]) -> str:
    """Markdown: a section for each model, pool and scale of data."""
    parts = []
    kinds = {_kind(record) for record in records}
    for model, pool, scale, state in sorted(kinds):
        chosen = [r for r in records if _kind(r) == (model, pool, scale, state)]
        parts.append(_section(model, pool, chosen))
    return "\n".join(parts)


def _kind(record: dict[str, Any]) -> tuple[str, str, str, str]:
    """What is compared with each other; of old records the dense model is not known."""
    state = record.get("dense_state", "")
    return record["model"], record["pool"], str(record["scale"]), state


def by_method(records: list[dict[str, Any]]) -> Errors:
    """Errors in per cent by method, (seeds, sub-architectures); the same seeds for every method.

    A method with fewer seeds than others limits them all.
    """
    seeds = {
        method: {r["seed"] for r in records if r["method"] == method}
        for method in {r["method"] for r in records}
    }
    common = sorted(set.intersection(*seeds.values()))
    found = {(r["method"], r["seed"]): r["errors"] for r in records}
    return {
        method: np.array([found[method, seed] for seed in common])
        for method in dict.fromkeys((*SETS["all"], *sorted(seeds)))
        if method in seeds
    }


def wins(errors: Errors) -> dict[str, float]:
    """Sub-architectures that each method prunes best, a mean over seeds; ties are shared."""
    if not errors:
        return {}
    every = np.stack(list(errors.values()))
    best = every == every.min(axis=0)
    shares = (best / best.sum(axis=0)).sum(axis=-1).mean(axis=-1)
    return dict(zip(errors, shares.tolist(), strict=True))


def mean_ranks(errors: Errors) -> dict[str, float]:
    """The methods' mean ranks over the sub-architectures, 1 the best; errors are means over seeds.

    Unlike wins they do not suffer where methods much alike share them.
    """
    means = np.stack([one.mean(axis=0) for one in errors.values()])
    return dict(zip(errors, stats.rankdata(means, axis=0).mean(axis=1).tolist(), strict=True))


def friedman(errors: Errors) -> float:
    """p of all methods being alike: Friedman's test on the errors' ranks in each sub-architecture.

    Errors of different sub-architectures are on different scales and far from normal, so only their
    order within each is used. They are means over the seeds. 1 where no method differs, or there
    are fewer than three.
    """
    means = np.stack([one.mean(axis=0) for one in errors.values()])
    if len(means) < 3 or (means == means[0]).all():
        return 1.0
    return float(stats.friedmanchisquare(*means).pvalue)


def against_rest(errors: Errors, method: str) -> dict[str, tuple[int, int, float]]:
    """By other method: sub-architectures won and lost by ``method``, and p after Holm.

    The two-sided sign test (binomial, ties left out) of the errors' means over the seeds: nothing
    is supposed but that each sub-architecture is as likely won as lost if both are alike.
    """
    mine = errors[method].mean(axis=0)
    counts = {
        other: (int((mine < theirs).sum()), int((mine > theirs).sum()))
        for other, theirs in ((name, one.mean(axis=0)) for name, one in errors.items())
        if other != method
    }
    plain = {
        other: stats.binomtest(won, won + lost).pvalue if won + lost else 1.0
        for other, (won, lost) in counts.items()
    }
    adjusted = holm(plain)
    return {other: (*counts[other], adjusted[other]) for other in counts}


def holm(values: dict[str, float]) -> dict[str, float]:
    """p values adjusted for their number by Holm's step-down method."""
    ordered = sorted(values, key=lambda name: values[name])
    raised = [(len(ordered) - place) * values[name] for place, name in enumerate(ordered)]
    steps = itertools.accumulate(raised, max)
    return {name: min(1.0, value) for name, value in zip(ordered, steps, strict=True)}


def _section(model: str, pool: str, records: list[dict[str, Any]]) -> str:
    errors = by_method(records)
    few = {name: errors[name] for name in SETS["paper"] if name in errors}
    seeds, size = next(iter(errors.values())).shape
    won, won_few = wins(errors), wins(few)
    winner = max(won, key=lambda name: won[name])
    tests, ranks = against_rest(errors, winner), mean_ranks(errors)
    rows = []
    for name in sorted(errors, key=lambda one: -won[one]):
        versus = tests.get(name)
        rows.append(
            (
                f"`{name}`",
                f"{won[name]:.1f}",
                "█" * round(BAR * won[name] / size),
                f"{won_few[name]:.1f}" if name in won_few else "",
                f"{errors[name].mean():.2f}",
                f"{ranks[name]:.1f}",
                f"{versus[0]} : {versus[1]}" if versus else "",
                f"{versus[2]:.1g}" if versus else "",
            )
        )
    first = records[0]
    scale = first["scale"]
    family, family_few = (
        sum(one[name] for name in one if name in DIRICHLET or name.startswith("dirichlet"))
        for one in (won, won_few)
    )
    heads = (
        "method",
        f"wins of {size}",
        "",
        "wins among the paper's seven",
        "mean error %",
        "mean rank",
    )
    heads = (*heads, "best : this", "p (Holm)")
    return "\n".join(
        [
            f"### {model}, {size} sub-architectures, 20-60 % of the parameters {pool}\n",
            f"{seeds} seed(s) of the ranking, {scale['rank_images']:,} training images to rank, "
            f"{scale['test_images']:,} test images, dense error {first['dense_error']:.2f} %. "
            f"Friedman's p over all methods: {friedman(errors):.1g}. Dirichlet switches together: "
            f"{family:.1f} of {size}; among the paper's seven {family_few:.1f}.\n",
            _paired(few, won_few),
            markdown_table(heads, rows),
        ]
    )


def _paired(errors: Errors, won: dict[str, float]) -> str:
    """The winner among the paper's seven against each of the others, a line; "" without others."""
    if len(won) < 2:
        return ""
    winner = max(won, key=lambda name: won[name])
    others = sorted(against_rest(errors, winner).items(), key=lambda one: -one[1][2])
    shown = ", ".join(f"`{name}` {a} : {b} (p {p:.1g})" for name, (a, b, p) in others)
    return (
        f"Among the seven `{winner}` wins most. Sub-architectures that it prunes better : worse "
        f"than {shown}.\n"
    )
