"""Options written as text, ``name{key=value,...}``, turned into the fields of a dataclass."""

from __future__ import annotations

import dataclasses
import enum
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

from graphprune.errors import UsageError
from graphprune.io.text import one_line

_SPEC = re.compile(r"\s*([^{}\s]+?)\s*(?:\{(.*)\}\s*)?", re.DOTALL)
# A piece runs up to the next comma that lies in neither brackets nor quotes.
_PIECE = re.compile(r"""(?:[^,\[\]"']|\[[^\[\]]*\]|"[^"]*"|'[^']*')+""")
_SCALARS: dict[Any, click.ParamType[Any]] = {
    bool: click.BOOL,
    int: click.INT,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path),
}


@dataclasses.dataclass(frozen=True)
class Spec:
    """A name and the options given with it, still as text."""

    name: str
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read ``name`` or ``name{key=value,...}``; the name may be ``package.module:Name``.

        A value with a comma is written in quotes, a sequence in brackets: ``{sizes=[1, 2]}``.
        A dash in a key stands for an underscore.

        Raises:
            UsageError: the text does not have this form, or gives a key twice.
        """
        match = _SPEC.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is not of the form name or name{{key=value,...}}")
        name, body = match[1], match[2]
        options: dict[str, str] = {}
        for piece in _split(body or "", text):
            key, separator, value = piece.partition("=")
            key = key.strip().replace("-", "_")
            if not (separator and key.isidentifier()):
                raise UsageError(f"{piece.strip()!r} in {text!r} is not of the form key=value")
            if key in options:
                raise UsageError(f"{text!r} gives {key!r} twice; keep one of them")
            options[key] = _unquote(value.strip())
        return cls(name, options)


def build(cls: type[Any], spec: Spec) -> Any:
    """An instance of ``cls`` whose fields are set from ``spec.options`` by their annotations.

    Fields may be bool, int, float, str, pathlib.Path, a Literal, an Enum, a tuple of one of these
    (``tuple[int, ...]``) or ``None``; any other field keeps its default.

    Raises:
        UsageError: an option is unknown or cannot be read as its field's type, a field without a
            default is missing, or the class refuses its values (with ValueError or TypeError).
    """
    fields = _init_fields(cls)
    unknown = sorted(set(spec.options) - set(fields))
    if unknown:
        known = f"known are {', '.join(fields)}" if fields else "it takes none"
        raise UsageError(f"{spec.name} has no option {unknown[0]!r}; {known}")
    missing = [name for name in _required(fields) if name not in spec.options]
    if missing:
        raise UsageError(
            f"{spec.name} needs the option {missing[0]!r}: write {spec.name}{{{missing[0]}=...}}"
        )
    hints = _hints(cls) if spec.options else {}
    values = {}
    for name, text in spec.options.items():
        try:
            values[name] = convert(text, hints[name])
        except UsageError as error:
            raise UsageError(f"option {name!r} of {spec.name}: {error}") from error
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{spec.name} cannot be set up: {one_line(error)}") from error


def convert(text: str, hint: Any) -> Any:
    """``text`` as a value of the annotated type ``hint``.

    Raises:
        UsageError: it cannot be read as that type, or the type cannot be written as text.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if text.lower() == "none" and types.NoneType in arguments:
            return None
        return _first_that_fits(text, [one for one in arguments if one is not types.NoneType])
    if origin is Literal:
        return _choice(text, {str(value): value for value in arguments})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice(text, {member.name.lower(): member for member in hint})
    if origin is tuple:
        return _tuple(text, arguments)
    if hint not in _SCALARS:
        raise UsageError("it can be set from Python only, not as text")
    try:
        return _SCALARS[hint].convert(text, None, None)
    except click.BadParameter as error:
        raise UsageError(error.message.rstrip(".")) from error


def _init_fields(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    if not dataclasses.is_dataclass(cls):
        return {}
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def _hints(cls: type[Any]) -> dict[str, Any]:
    try:
        return get_type_hints(cls)
    except NameError as error:  # such as a type imported for type checkers alone
        raise UsageError(
            f"the annotations of {cls.__qualname__} cannot be read: {error}; import it at run time"
        ) from error


def _required(fields: Mapping[str, dataclasses.Field[Any]]) -> list[str]:
    return [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _split(body: str, text: str) -> list[str]:
    if not body.strip():
        return []
    pieces = _PIECE.findall(body)
    if ",".join(pieces) != body:
        raise UsageError(f"{text!r} has an empty option, or a quote or bracket left open")
    return pieces


def _unquote(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _first_that_fits(text: str, hints: list[Any]) -> Any:
    failures = []
    for hint in hints:
        try:
            return convert(text, hint)
        except UsageError as error:
            failures.append(str(error))
    raise UsageError("; ".join(dict.fromkeys(failures)))


def _choice(text: str, choices: dict[str, Any]) -> Any:
    if text not in choices:
        raise UsageError(f"{text!r} is not one of {', '.join(choices)}")
    return choices[text]


def _tuple(text: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if not (text.startswith("[") and text.endswith("]")):
        raise UsageError(f"{text!r} is not a sequence in brackets, such as [1, 2]")
    items = [_unquote(item.strip()) for item in _split(text[1:-1], text)]
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(items)
    if len(arguments) != len(items):
        raise UsageError(f"{text!r} has {len(items)} items instead of {len(arguments)}")
    return tuple(convert(item, hint) for item, hint in zip(items, arguments, strict=True))
