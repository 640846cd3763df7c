"""Python objects that the user names as ``package.module:name``."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from graphprune.errors import UsageError
from graphprune.io.text import reason

_SPEC = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_import_spec(text: str) -> bool:
    """Return whether ``text`` has the form ``package.module:name``."""
    return _SPEC.fullmatch(text) is not None


@contextlib.contextmanager
def working_directory_importable() -> Iterator[None]:
    """Let imports find modules in the current directory, as ``python -m`` does."""
    here = os.getcwd()
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(here)


def import_callable(spec: str, option: str, error: type[UsageError]) -> Callable[..., Any]:
    """Import the callable that ``spec`` (``package.module:name``) names.

    The current directory is searched first. ``option`` is what the message calls it, for
    example ``--model``. Raises ``error`` if the form is wrong, or there is no such module or
    attribute, or the import itself fails, or the object cannot be called.
    """
    if not is_import_spec(spec):
        raise error(f"{option} {spec!r}: expected the form package.module:name")
    module_name, _, attribute = spec.partition(":")
    try:
        with working_directory_importable():
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name and (module_name == exc.name or module_name.startswith(exc.name + ".")):
            advice = "run from the folder that holds it, or install it"
            if module_name.endswith(".py"):
                advice = f"leave out the ending: {module_name.removesuffix('.py')}:{attribute}"
            raise error(f"{option} {spec}: no module named {exc.name!r}; {advice}") from exc
        raise error(f"{option} {spec}: importing {module_name} failed: {reason(exc)}") from exc
    except Exception as exc:  # a user's module may raise anything while it is imported
        raise error(f"{option} {spec}: importing {module_name} failed: {reason(exc)}") from exc
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise error(f"{option} {spec}: {module_name} has no attribute {attribute!r}")
        found = getattr(found, part)
    if not callable(found):
        raise error(f"{option} {spec}: it is a {type(found).__name__}, which cannot be called")
    result: Callable[..., Any] = found
    return result


def call_user(function: Callable[[], Any], what: str, error: type[UsageError]) -> Any:
    """Return ``function()``; whatever it raises becomes ``error``, naming ``what`` was called."""
    try:
        with working_directory_importable():
            return function()
    except Exception as exc:  # a user's function may raise anything
        raise error(f"{what} raised {reason(exc)}") from exc
