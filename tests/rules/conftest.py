"""Rules registered in a test are forgotten after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graphprune.rules.rule import RULES


@pytest.fixture(autouse=True)
def _forget_rules() -> Iterator[None]:
    before = dict(RULES)
    yield
    RULES.clear()
    RULES.update(before)
