"""The text of an exported program, checked before torch.export.load evaluates parts of it.

Besides pickles, loading a ``.pt2`` evaluates symbolic sizes (``sympy.sympify`` calls ``eval``),
compiles guards, writes names into generated Python source and looks operators up by attribute
(``torch.os.system`` would be found). So every string of the program is checked: sizes and guards
against a small list of syntax, operators against the places operators live in, and
every other string against the characters that names and shapes need. Free text (stack traces)
and string constants, which torch quotes, may hold anything.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[\w .,:/+*<>|$-]*")
_DUNDER_OPS = "__and__|__or__|__xor__|__lshift__|__rshift__|__iand__|__ior__|__ixor__"
_OPERATOR = re.compile(
    r"torch\.ops\.(?!_?load|_?import)_?[a-zA-Z]\w*\.(_?[a-zA-Z]\w*|" + _DUNDER_OPS + r")"
    r"(\.[a-zA-Z]\w*)?"
    r"|_operator\.(getitem|neg|pos|not_|add|sub|mul|matmul|truediv|floordiv|mod|pow|and_|or_|xor"
    r"|lshift|rshift|eq|ne|lt|le|gt|ge|index)"
    r"|math\.[a-z]\w*"
    r"|torch\._?sym_[a-z]\w*"
    r"|torch\._C\._functorch\._?[a-z]\w*"
)
_WORD = re.compile(r"\w*")
_CALLS = re.compile(r"[A-Z]\w*|floor|ceiling|max|min")
_ATTRIBUTES = frozenset({"size", "stride", "storage_offset", "shape", "isnan", "inf"})
_SYNTAX = (
    ast.Expression,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.keyword,
    ast.Call,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
)
_GUARD_SYNTAX = (*_SYNTAX, ast.Attribute, ast.Subscript)
_FREE_TEXT = frozenset({"metadata", "as_string", "as_strings"})
_TREES = frozenset({"in_spec", "out_spec"})
_MODULES = frozenset({"builtins", "collections"})


def unsafe_program_text(document: object) -> str | None:
    """Return what in a parsed ``models/*.json`` could run code when it is loaded, else None."""
    for key, text in _strings(document, ""):
        problem = _problem(key, text)
        if problem is not None:
            return problem
    return None


def _problem(key: str, text: str) -> str | None:
    if key == "expr_str":
        return None if _is_arithmetic(text, _SYNTAX) else f"the size {text!r}"
    if key == "guards_code":
        return None if _is_arithmetic(text, _GUARD_SYNTAX) else f"the guard {text!r}"
    if key == "target" and not _OPERATOR.fullmatch(text):
        # "#…" are registered extensions: torch looks them up in a table.
        return None if re.fullmatch(r"#[\w:.]+", text) else f"the operator {text!r}"
    if key in _TREES:
        return _tree_problem(text)
    return None if _PLAIN.fullmatch(text) else f"the name {text!r}"


def _strings(node: object, key: str) -> Iterator[tuple[str, str]]:
    """Yield (key it lies under, text) for all strings, names of JSON objects included."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, list):
        for item in node:
            yield from _strings(item, key)
    elif isinstance(node, dict):
        for name, item in node.items():
            yield "name", name
            if name not in _FREE_TEXT:
                yield from _strings(item, name)


def _is_arithmetic(text: str, allowed: tuple[type[ast.AST], ...]) -> bool:
    """Return whether the text is arithmetic on names, calling nothing but known kinds of names."""
    if "\n" in text or "#" in text:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(isinstance(node, allowed) and _node_is_plain(node) for node in ast.walk(tree))


def _node_is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Name):
        return not node.id.startswith("__")
    if isinstance(node, ast.Attribute):
        return node.attr in _ATTRIBUTES
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _WORD.fullmatch(node.value) is not None
    if isinstance(node, ast.Call):
        called = node.func
        return isinstance(called, ast.Attribute) or (
            isinstance(called, ast.Name) and _CALLS.fullmatch(called.id) is not None
        )
    return True


def _tree_problem(text: str) -> str | None:
    """Check a pytree specification: JSON text whose contexts may themselves be JSON text."""
    if not text:
        return None
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None if _PLAIN.fullmatch(text) else f"the input structure {text!r}"
    for key, inner in _strings(document, ""):
        if key in ("default_factory_module", "fqn"):
            if inner.partition(".")[0] not in _MODULES:
                return f"the import of {inner!r}"
        elif inner[:1] in '[{"':
            if inner == text:
                return f"the input structure {text!r}"
            problem = _tree_problem(inner)
            if problem is not None:
                return problem
        elif not _PLAIN.fullmatch(inner):
            return f"the input name {inner!r}"
    return None
