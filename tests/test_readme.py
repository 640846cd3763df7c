"""The README does what it says: its commands and snippets run, its options and files exist."""

from __future__ import annotations

import re
import shlex
import sys
import types
from pathlib import Path

import click
import pytest

from graphprune.cli import cli
from graphprune.passes import make_pass
from graphprune.switches.base import Switch
from graphprune.switches.method import SwitchMethod

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]+)\)")
_OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block, in order."""
    return _BLOCK.findall(page.read_text())


def commands(page: Path) -> list[list[str]]:
    """Every graphprune command in the page's shell and console blocks, split into words."""
    lines = [
        line.removeprefix("$ ")
        for language, text in blocks(page)
        if language in ("sh", "console")
        for line in text.splitlines()
    ]
    return [shlex.split(line)[1:] for line in lines if line.startswith("graphprune ")]


def known_options(name: str) -> set[str]:
    """Long and short options of a subcommand, those of the top command for an unknown name."""
    command = cli.commands.get(name, cli)
    help_names = {"-h", "--help"}
    return {opt for p in command.params for opt in (*p.opts, *p.secondary_opts)} | help_names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_documented_commands_name_existing_options(page: Path) -> None:
    for words in commands(page):
        name = words[0]
        assert name in cli.commands or name.startswith("-"), f"no command {name}"
        for word in words:
            if word.startswith("-"):
                assert word.partition("=")[0] in known_options(name), f"{name} has no {word}"


def test_options_named_in_the_readme_text_exist() -> None:
    text = _BLOCK.sub("", (ROOT / "README.md").read_text())
    everything = set().union(*(known_options(name) for name in [*cli.commands, ""]))
    named = {
        option
        for code in re.findall(r"`([^`\n]+)`", text)
        for option in _OPTION.findall(code)
        if option.startswith("--")
    }
    assert len(named) > 10
    assert named <= everything, f"not options: {sorted(named - everything)}"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_of_compress_is_in_the_readme(name: str) -> None:
    text = (ROOT / "README.md").read_text()
    assert f"graphprune {name}" in text
    if name == "compress":
        options = {p.opts[-1] for p in cli.commands[name].params if isinstance(p, click.Option)}
        missing = [option for option in sorted(options) if not re.search(rf"{option}\b", text)]
        assert missing in ([], ["--output"])  # written -o


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", page.read_text())  # code may look like a link
    for target in _LINK.findall(prose):
        if not target.startswith("http") and not target.endswith("results.md"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_a_switch_is_a_file_of_40_lines() -> None:
    (file,) = [text for _, text in blocks(ROOT / "docs/writing-a-switch.md") if "# file:" in text]
    assert len(file.splitlines()) <= 40


def test_the_page_on_switches_names_all_that_a_switch_may_answer() -> None:
    page = (ROOT / "docs/writing-a-switch.md").read_text()
    own = {name for kind in (Switch, SwitchMethod) for name in vars(kind) if name[0] != "_"}
    missing = {name for name in own - {"forward"} if f"`{name}" not in page}
    assert missing <= {"name", "weights_lr"}


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/how-it-works.md",
        "docs/writing-a-pass.md",
        "docs/writing-a-switch.md",
        "docs/criteria.md",
        "docs/features.md",
    ],
)
def test_page_runs_from_top_to_bottom(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    page = types.ModuleType("page")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "page", page)
    for language, text in blocks(ROOT / name):
        if language == "python":
            first = text.partition("\n")[0]
            if first.startswith("# file: "):
                (tmp_path / first.removeprefix("# file: ")).write_text(text)
            # Not with this file's own "annotations" feature.
            exec(compile(text, name, "exec", dont_inherit=True), page.__dict__)  # noqa: S102
        elif language == "console":
            for line in text.splitlines():
                if line.startswith("$ graphprune "):
                    cli.main(shlex.split(line)[2:], standalone_mode=False)
    for words in commands(ROOT / name):
        if "--pass" in words:
            make_pass(words[words.index("--pass") + 1])
    if name == "README.md":
        made = {"model.onnx", "model.pt2", "plan.json", "report.json"}
        assert {path.name for path in (tmp_path / "out").iterdir()} == made
