"""Rules that installed packages bring for their own operators.

An entry point in the group ``graphprune.rules`` is named after the operators' namespace and points
at anything callable in the module that registers the rules; it is imported, never called::

    [project.entry-points."graphprune.rules"]
    mylib = "mylib.graphprune_rules:scale_channels"
"""

from __future__ import annotations

import functools

from graphprune.registry import Registry

RULE_MODULES = Registry("graphprune.rules")


@functools.cache
def load_rules(namespace: str) -> None:
    """Import the rules for operators such as ``torch.ops.<namespace>.f``, if any are installed.

    Raises:
        UsageError: two packages claim the namespace, or the import fails.
    """
    if namespace in RULE_MODULES.names():
        RULE_MODULES.load(namespace)
