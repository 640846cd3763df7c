"""pyproject.toml, the changelog, the documents and the code agree with one another."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
import tomllib
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import graphprune.passes
from graphprune.errors import UsageError
from graphprune.io.imports import import_callable
from graphprune.passes import GraphPass
from graphprune.registry import PASSES, Registry

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [one for extra in PROJECT["optional-dependencies"].values() for one in extra]
POINTS = [
    (group, name, target)
    for group, points in PROJECT["entry-points"].items()
    for name, target in points.items()
]


def test_the_changelog_begins_with_the_version_of_the_project() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0].split()[0] == PROJECT["version"]
    versions = [Version(heading.split()[0]) for heading in headings]
    assert versions == sorted(versions, reverse=True)


def test_the_installed_version_is_that_of_the_project() -> None:
    assert version("graphprune") == PROJECT["version"]


def test_the_installed_entry_points_are_those_of_the_project() -> None:
    for group, points in PROJECT["entry-points"].items():
        installed = {
            point.name: point.value
            for point in entry_points(group=group)
            if point.dist is not None and point.dist.name == "graphprune"
        }
        assert installed == points


@pytest.mark.parametrize(("group", "name", "target"), POINTS, ids=str)
def test_every_entry_point_loads(group: str, name: str, target: str) -> None:
    loaded = Registry(group).load(name)
    assert inspect.isclass(loaded) or group == "graphprune.rules"  # where importing is all
    assert f"{loaded.__module__}:{loaded.__qualname__}" == target


def test_the_console_script_names_a_function() -> None:
    assert PROJECT["scripts"] == {"graphprune": "graphprune.cli:main"}
    assert callable(import_callable("graphprune.cli:main", "script", UsageError))


def test_every_pass_of_ours_is_registered_and_keeps_the_contract() -> None:
    registered = {entry.target: entry.name for entry in PASSES.entries()}
    for module_info in pkgutil.iter_modules(graphprune.passes.__path__, "graphprune.passes."):
        module = importlib.import_module(module_info.name)
        for cls in vars(module).values():
            if not (inspect.isclass(cls) and issubclass(cls, GraphPass)):
                continue
            if cls.__module__ != module.__name__ or inspect.isabstract(cls):
                continue
            assert registered.get(f"{module.__name__}:{cls.__qualname__}") == cls.name
            assert dataclasses.is_dataclass(cls)
            assert cls.__dataclass_params__.frozen


def test_every_dependency_is_justified() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    rows = set(re.findall(r"^\| ([\w-]+) \|", text, re.MULTILINE))
    named = {Requirement(one).name for one in [*PROJECT["dependencies"], *EXTRAS]}
    assert rows - {"name"} == named | {"torchvision"}


def test_the_pinned_versions_lie_in_the_allowed_ranges() -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, pinned = line.partition("==")
            pins[name.lower().replace("_", "-")] = Version(pinned)
    # Only one of the two builds of onnxruntime is ever installed, at the same version.
    pins["onnxruntime"] = pins["onnxruntime-gpu"]
    for one in [*PROJECT["dependencies"], *EXTRAS]:
        requirement = Requirement(one)
        assert pins[requirement.name] in requirement.specifier, one


@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "aarch64", "arm64"])
def test_one_build_of_onnxruntime_on_every_platform(platform: str, machine: str) -> None:
    environment = {"sys_platform": platform, "platform_machine": machine}
    chosen = [
        requirement.name
        for requirement in map(Requirement, PROJECT["dependencies"])
        if requirement.name.startswith("onnxruntime")
        and (requirement.marker is None or requirement.marker.evaluate(environment))
    ]
    has_gpu_wheel = (platform, machine) in {("linux", "x86_64"), ("win32", "AMD64")}
    assert chosen == ["onnxruntime-gpu" if has_gpu_wheel else "onnxruntime"]
