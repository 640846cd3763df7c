"""How random examples are drawn: strategies, and the two profiles that run them.

``test`` is the same in every run; ``fuzz`` draws new examples and keeps those that fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import hypothesis
from fuzz_blocks import BLOCKS, FRAMES, Recipe
from fuzz_check import Outcome, Wish, check
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st

from graphprune.choosing.ranking import RANKINGS

_COMMON = {
    "deadline": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": False,
    # Which lines only failing examples reach is not worth the minutes that finding out takes.
    "phases": [phase for phase in Phase if phase is not Phase.explain],
}
settings.register_profile("test", max_examples=75, database=None, **_COMMON)
settings.register_profile("fuzz", max_examples=2500, **_COMMON)

RECIPES = st.builds(
    Recipe,
    program=st.lists(
        st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(1, 5), st.integers(0, 8)),
        min_size=1,
        max_size=3,
        unique_by=lambda block: block[0],
    ).map(tuple),
    frame=st.sampled_from(FRAMES),
    width=st.sampled_from((6, 8, 5, 12, 4, 7, 9, 3, 2, 1)),
    size=st.sampled_from(((4, 4), (2, 6), (3, 5), (2, 3))),
)
WISHES = st.builds(
    Wish,
    target=st.builds(
        lambda kind, percent: f"{kind}={percent}%",
        st.sampled_from(("channels", "channels", "params", "macs")),
        st.integers(25, 85),
    ),
    ranking=st.sampled_from(RANKINGS),
    heads=st.sampled_from(("both", "whole", "inside", "keep")),
    round_to=st.sampled_from((1, 1, 1, 2)),
    seed=st.integers(0, 2**16),
    dynamic=st.sampled_from((False, False, False, True)),
)


@dataclass
class Tally:
    """What became of all examples of a run.

    Attributes:
        ran: how many were tried.
        shrunk: in how many some parameter lost something.
        mutants: how many wrong cuts were made on purpose.
        in_rows: how many of these in one row of a tensor whose rows keep columns of their own.
        missed: those that went unnoticed, with the program.
    """

    ran: int = 0
    shrunk: int = 0
    mutants: int = 0
    in_rows: int = 0
    missed: list[str] = field(default_factory=list)

    def add(self, recipe: Recipe, outcome: Outcome) -> None:
        """Count one example."""
        self.ran += 1
        self.shrunk += outcome.shrunk
        self.mutants += bool(outcome.mutant)
        self.in_rows += " row " in outcome.mutant
        if outcome.mutant and not outcome.caught:
            self.missed.append(f"{outcome.mutant} of {recipe}")

    def include(self, other: Tally) -> None:
        """Count what another process has counted."""
        self.ran += other.ran
        self.shrunk += other.shrunk
        self.mutants += other.mutants
        self.in_rows += other.in_rows
        self.missed += other.missed


def run_examples(
    profile: str,
    seed: int,
    tally: Tally,
    go_on: Callable[[], bool] = lambda: True,
    examples: int | None = None,
) -> None:
    """Draw examples and check them.

    Args:
        profile: ``test`` or ``fuzz``.
        seed: of the examples drawn.
        tally: counts them.
        go_on: asked before each; once it says no, the rest is left out.
        examples: how many; None: as many as the profile says.

    Raises:
        Exception: of the first example that fails, made as small as it gets; its notes tell the
            example.
    """
    failed = False

    chosen = settings.get_profile(profile)

    @hypothesis.seed(seed)
    @settings(chosen, max_examples=examples or chosen.max_examples)
    @given(recipe=RECIPES, wish=WISHES)
    def run(recipe: Recipe, wish: Wish) -> None:
        nonlocal failed
        if not failed and not go_on():
            return
        note(f"check({recipe!r}, {wish!r})")
        try:
            outcome = check(recipe, wish)
        except Exception:
            failed = True  # from now on it is made smaller, however long that takes
            raise
        tally.add(recipe, outcome)
        event("refused" if outcome.refused else "shrunk" if outcome.shrunk else "as it was")

    run()
