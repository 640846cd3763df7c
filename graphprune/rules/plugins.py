"""Rules that installed packages bring for their own operators.

An entry point in the group ``graphprune.rules`` is named after the operators' namespace and points
at anything callable in the module that registers the rules; it is imported, never called::

    [project.entry-points."graphprune.rules"]
    mylib = "mylib.graphprune_rules:scale_channels"
"""

from __future__ import annotations

import functools
import importlib

from graphprune.errors import UsageError
from graphprune.io.imports import working_directory_importable
from graphprune.io.text import reason
from graphprune.registry import Registry

RULE_MODULES = Registry("graphprune.rules")
_IMPORTED: dict[str, None] = {}


@functools.cache
def load_rules(namespace: str) -> None:
    """Import the rules for operators such as ``torch.ops.<namespace>.f``, if any are installed.

    Raises:
        UsageError: two packages claim the namespace, or the import fails.
    """
    if namespace in RULE_MODULES.names():
        RULE_MODULES.load(namespace)


def import_rules(module: str) -> None:
    """Import a module of the user's, which registers rules as it is imported.

    The current directory is searched first.

    Args:
        module: ``package.module``.

    Raises:
        UsageError: the import fails.
    """
    try:
        with working_directory_importable():
            importlib.import_module(module)
        _IMPORTED[module] = None
    except UsageError:
        raise  # a rule in it is at fault
    except Exception as error:  # a user's module may raise anything while it is imported
        raise UsageError(
            f"--rules {module}: importing it failed: {reason(error)}; "
            "give package.module, and run from the folder that holds it, or install it"
        ) from error


def imported_rules() -> tuple[str, ...]:
    """Modules that :func:`import_rules` has imported, in order."""
    return tuple(_IMPORTED)
