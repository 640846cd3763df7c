"""Options as text: ``name{key=value,...}`` becomes the typed fields of a dataclass."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import UsageError
from graphprune.options import Spec, build, convert

if TYPE_CHECKING:
    from fractions import Fraction


class Colour(enum.Enum):
    RED = 1
    DARK_BLUE = 2


@dataclass(frozen=True)
class Thing:
    count: int
    rate: float = 0.5
    on: bool = False
    title: str = ""
    limit: int | None = 3
    mode: Literal["fast", "slow"] = "fast"
    sizes: tuple[int, ...] = ()
    pair: tuple[str, float] = ("a", 1.0)
    colour: Colour = Colour.RED
    where: Path = Path()
    table: dict[str, int] = field(default_factory=dict)
    derived: int = field(default=0, init=False)


@dataclass(frozen=True)
class Picky:
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.rate > 1:
            raise ValueError("rate must be\nat most 1")


@dataclass(frozen=True)
class Hidden:
    value: Fraction | None = None


class Plain:
    pass


def make(text: str, cls: type[Any] = Thing) -> Any:
    return build(cls, Spec.parse(text))


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("set-mode", "set-mode", {}),
        ("set-mode{}", "set-mode", {}),
        (" a { x = 1 , y-z = two } ", "a", {"x": "1", "y_z": "two"}),
        ("p.m:C{x=1}", "p.m:C", {"x": "1"}),
        ("a{s='1,2',t=\"x]\"}", "a", {"s": "1,2", "t": "x]"}),
        ("a{s=[1, 2],t=b=c}", "a", {"s": "[1, 2]", "t": "b=c"}),
        ("a{s=}", "a", {"s": ""}),
    ],
)
def test_parse(text: str, name: str, options: dict[str, str]) -> None:
    assert Spec.parse(text) == Spec(name, options)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{x=1}", "a{x=1", "a}x=1{", "a b", "a{x}", "a{=1}", "a{x=1,,y=2}", "a{x=1,}"),
        *("a{x='1}", "a{x=[1}", "a{x=1,x=2}", "a{1x=1}", "a{x=1}b", "a{x-y=1,x_y=2}"),
    ],
)
def test_malformed_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Spec.parse(text)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("rate=1e-3", {"rate": 1e-3}),
        ("on=true", {"on": True}),
        ("on=no", {"on": False}),
        ("title='a, b'", {"title": "a, b"}),
        ("title=1", {"title": "1"}),
        ("limit=none", {"limit": None}),
        ("limit=7", {"limit": 7}),
        ("mode=slow", {"mode": "slow"}),
        ("sizes=[1, 2,3]", {"sizes": (1, 2, 3)}),
        ("sizes=[]", {"sizes": ()}),
        ("pair=['x', 2]", {"pair": ("x", 2.0)}),
        ("colour=dark_blue", {"colour": Colour.DARK_BLUE}),
        ("where=a/b", {"where": Path("a/b")}),
    ],
)
def test_values_take_the_type_of_their_field(option: str, expected: dict[str, Any]) -> None:
    made = make(f"thing{{count=2,{option}}}")
    assert made == Thing(count=2, **expected)
    (value,) = expected.values()
    assert type(getattr(made, next(iter(expected)))) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thing", "thing needs the option 'count': write thing{count=...}"),
        ("thing{count=x}", "option 'count' of thing: 'x' is not a valid integer"),
        ("thing{count=1.5}", "'1.5' is not a valid integer"),
        ("thing{count=1,on=perhaps}", "option 'on' of thing: 'perhaps' is not a valid boolean"),
        ("thing{count=1,limit=x}", "option 'limit' of thing: 'x' is not a valid integer"),
        ("thing{count=1,mode=medium}", "'medium' is not one of fast, slow"),
        ("thing{count=1,colour=green}", "'green' is not one of red, dark_blue"),
        ("thing{count=1,sizes=1}", "'1' is not a sequence in brackets"),
        ("thing{count=1,sizes=[1,x]}", "'x' is not a valid integer"),
        ("thing{count=1,pair=[a]}", "has 1 items instead of 2"),
        ("thing{count=1,table=x}", "option 'table' of thing: it can be set from Python only"),
        ("thing{count=1,colr=red}", "thing has no option 'colr'; known are count, rate, on,"),
        ("thing{count=1,derived=2}", "thing has no option 'derived'"),
    ],
)
def test_a_wrong_option_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        make(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_refuses_its_values() -> None:
    assert make("picky{rate=1}", Picky) == Picky(1.0)
    with pytest.raises(UsageError, match="picky cannot be set up: rate must be at most 1"):
        make("picky{rate=2}", Picky)


def test_a_class_that_is_no_dataclass_takes_no_options() -> None:
    assert isinstance(make("plain", Plain), Plain)
    with pytest.raises(UsageError, match="plain has no option 'x'; it takes none"):
        make("plain{x=1}", Plain)


def test_an_annotation_that_cannot_be_resolved() -> None:
    assert make("hidden", Hidden) == Hidden()
    with pytest.raises(UsageError, match=r"annotations of Hidden cannot be read.*Fraction"):
        make("hidden{value=1}", Hidden)


@given(st.integers())
def test_integers_come_back(value: int) -> None:
    assert convert(str(value), int) == value


@given(st.floats(allow_nan=False))
def test_floats_come_back(value: float) -> None:
    assert convert(repr(value), float) == value


@given(st.text(st.characters(exclude_characters="\"'", exclude_categories=["Cs"])))
def test_any_quoted_text_comes_back(value: str) -> None:
    made = make(f'thing{{count=1,title="{value}"}}')
    assert made.title == value
