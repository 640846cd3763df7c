"""Checks that an error is one line for the user, shared by tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from graphprune.errors import UsageError


def check_error(action: Callable[[], object], message: str, kind: type[UsageError]) -> UsageError:
    """``action`` raises ``kind``, with ``message`` in one line of text without a traceback."""
    with pytest.raises(kind) as caught:
        action()
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 500
    return caught.value
