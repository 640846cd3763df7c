"""Registries: names from entry points and from this process, and duplicates refused."""

from __future__ import annotations

import importlib
import re
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest

from graphprune.errors import UsageError
from graphprune.registry import CRITERIA, EXPORTERS, IN_PROCESS, PASSES, SWITCHES, Entry, Registry

GROUP = "graphprune.test_things"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put the metadata of a distribution with entry points on the path, as an installer would."""

    def put(distribution: str, group: str = GROUP, **points: str) -> None:
        root = tmp_path / distribution
        info = root / f"{distribution}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n"
        )
        lines = [f"{name} = {target}" for name, target in points.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        monkeypatch.syspath_prepend(str(root))

    return put


def test_entry_points_are_listed_described_and_loaded(install: Install) -> None:
    install("first", ordered="collections:OrderedDict", counter="collections:Counter")
    registry = Registry(GROUP)
    assert registry.names() == ["counter", "ordered"]
    assert registry.describe("ordered") == Entry("ordered", "collections:OrderedDict", "first 1.5")
    assert [entry.name for entry in registry.entries()] == ["counter", "ordered"]
    assert registry.load("ordered") is OrderedDict


def test_nothing_is_imported_before_it_is_loaded(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazy_thing.py").write_text("class Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    install("lazy", thing="lazy_thing:Thing")
    registry = Registry(GROUP)
    registry.names(), registry.entries(), registry.describe("thing")
    assert "lazy_thing" not in sys.modules
    loaded = registry.load("thing")
    assert loaded is importlib.import_module("lazy_thing").Thing


def test_a_plug_in_installed_later_is_found(install: Install) -> None:
    registry = Registry(GROUP)
    assert registry.names() == []
    install("later", ordered="collections:OrderedDict")
    assert registry.names() == ["ordered"]


def test_registered_in_this_process() -> None:
    registry = Registry(GROUP)
    registry.register("mine", OrderedDict)
    assert registry.load("mine") is OrderedDict
    assert registry.describe("mine") == Entry("mine", "collections:OrderedDict", IN_PROCESS)


def test_an_instance_is_described_by_its_class() -> None:
    registry = Registry(GROUP)
    registry.register("one", OrderedDict())
    assert registry.describe("one").target == "collections:OrderedDict"


def test_a_path_needs_no_registration() -> None:
    assert Registry(GROUP).load("collections:OrderedDict") is OrderedDict


def test_two_distributions_claiming_a_name_are_refused_by_every_method(install: Install) -> None:
    install("first", ordered="collections:OrderedDict")
    install("second", ordered="collections:Counter")
    registry = Registry(GROUP)
    both = (
        r"'ordered' is claimed twice in graphprune\.test_things: by collections:\w+ from \w+ 1\.5 "
        r"and by collections:\w+ from \w+ 1\.5; uninstall or rename one of them"
    )
    for use in (
        registry.names,
        registry.entries,
        lambda: registry.describe("ordered"),
        lambda: registry.load("ordered"),
    ):
        with pytest.raises(UsageError, match=both) as caught:
            use()
        assert {"first 1.5", "second 1.5"} <= set(re.findall(r"\w+ 1\.5", str(caught.value)))


def test_a_name_in_two_registries_that_share_names_is_refused_by_both(install: Install) -> None:
    first, second = Registry(GROUP), Registry("graphprune.other_things")
    install("one", ordered="collections:OrderedDict")
    install("two", second.group, ordered="collections:Counter")
    assert first.names() == second.names() == ["ordered"]
    first.share_names(second)
    for registry in (first, second):
        with pytest.raises(UsageError, match=r"'ordered' is claimed twice in graphprune") as caught:
            registry.names()
        words = str(caught.value)
        assert all(part in words for part in (first.group, second.group, "one 1.5", "two 1.5"))
    with pytest.raises(UsageError, match="claimed twice"):
        second.load("ordered")


def test_a_name_of_a_registry_beside_cannot_be_registered() -> None:
    first, second = Registry(GROUP), Registry("graphprune.other_things")
    first.share_names(second)
    second.register("mine", OrderedDict)
    with pytest.raises(UsageError, match="'mine' is claimed twice in"):
        first.register("mine", dict)
    assert first.names() == []
    assert second.load("mine") is OrderedDict


def test_reserved_names_are_refused(install: Install) -> None:
    registry = Registry(GROUP, frozenset({"auto"}))
    with pytest.raises(UsageError, match=r"'auto' cannot be a name in .*: it is reserved"):
        registry.register("auto", OrderedDict)
    assert registry.names() == []
    install("bold", auto="collections:OrderedDict")
    with pytest.raises(UsageError, match=r"reserved; .* collections:OrderedDict from bold 1\.5"):
        registry.load("auto")


def test_a_switch_cannot_take_the_name_of_a_criterion() -> None:
    for registry, name in ((SWITCHES, "l2"), (CRITERIA, "dirichlet"), (SWITCHES, "auto")):
        with pytest.raises(UsageError, match=f"'{name}'"):
            registry.register(name, OrderedDict)


def test_an_installed_name_cannot_be_registered_again(install: Install) -> None:
    install("first", ordered="collections:OrderedDict")
    registry = Registry(GROUP)
    with pytest.raises(UsageError, match=r"from first 1\.5 and by .* from \(this process\)"):
        registry.register("ordered", OrderedDict)
    assert registry.load("ordered") is OrderedDict


def test_a_name_cannot_be_registered_twice() -> None:
    registry = Registry(GROUP)
    registry.register("mine", OrderedDict)
    with pytest.raises(UsageError, match="'mine' is claimed twice"):
        registry.register("mine", dict)
    assert registry.load("mine") is OrderedDict


def test_a_plug_in_installed_over_a_registered_name_is_refused(install: Install) -> None:
    registry = Registry(GROUP)
    registry.register("ordered", OrderedDict)
    install("late", ordered="collections:Counter")
    with pytest.raises(UsageError, match=r"late 1\.5.*\(this process\)"):
        registry.load("ordered")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a{b}", "a,b", "-a", "é"])
def test_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        Registry(GROUP).register(name, OrderedDict)


def test_an_unknown_name_lists_the_known_ones(install: Install) -> None:
    install("first", ordered="collections:OrderedDict", counter="collections:Counter")
    with pytest.raises(UsageError, match=r"'x' is not registered.*known are counter, ordered"):
        Registry(GROUP).load("x")


def test_an_empty_registry_says_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"nothing at all is registered.*install graphprune"):
        Registry(GROUP).describe("x")


@pytest.mark.parametrize(
    "path", ["no_such_module_xyz:Name", "collections:NoSuchName", "not a path:Name", ":", "a:"]
)
def test_a_wrong_path_is_one_line(path: str) -> None:
    with pytest.raises(UsageError, match=re.escape(path)) as caught:
        Registry(GROUP).load(path)
    assert "\n" not in str(caught.value)


def test_a_broken_plug_in_is_named_with_its_distribution(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_thing.py").write_text("raise KeyError('first\\nsecond')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    install("sad", thing="broken_thing:Thing")
    with pytest.raises(UsageError, match=r"'thing' from sad 1\.5.*KeyError") as caught:
        Registry(GROUP).load("thing")
    assert "\n" not in str(caught.value)


def test_the_four_registries() -> None:
    groups = [registry.group for registry in (PASSES, CRITERIA, SWITCHES, EXPORTERS)]
    assert groups == [
        "graphprune.passes",
        "graphprune.criteria",
        "graphprune.switches",
        "graphprune.exporters",
    ]
