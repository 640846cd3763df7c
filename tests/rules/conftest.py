"""Rules and translations registered in a test are forgotten after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from graphprune.exporters.onnx_ops import TRANSLATIONS
from graphprune.rules.rule import RULES


@pytest.fixture(autouse=True)
def _forget_rules() -> Iterator[None]:
    before, translations = dict(RULES), dict(TRANSLATIONS)
    yield
    RULES.clear()
    RULES.update(before)
    TRANSLATIONS.clear()
    TRANSLATIONS.update(translations)
