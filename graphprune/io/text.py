"""Words for messages that must stay on one line."""

from __future__ import annotations

from collections.abc import Iterable


def one_line(value: object, limit: int = 200) -> str:
    """Return ``str(value)`` with all white space runs made single spaces, cut to ``limit``."""
    text = " ".join(str(value).split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def reason(error: BaseException, limit: int = 200) -> str:
    """Return the type and the text of an exception on one line."""
    text = one_line(error, limit)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def counted(number: int, noun: str) -> str:
    """Return ``1 group`` or ``1,234 groups``, for nouns whose plural ends in s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def few(names: Iterable[str], count: int = 3) -> str:
    """Return the first ``count`` names, and how many more there are."""
    listed = [one_line(name, 80) for name in names]
    shown = ", ".join(listed[:count])
    return shown if len(listed) <= count else f"{shown} and {len(listed) - count} more"
